rule synthesize_dataset:
    input:
        files=source_files,
    output:
        train="results/{study}/{scale}/data/{dataset}/{ratio}/train.arrow",
        test="results/{study}/{scale}/data/{dataset}/{ratio}/test.arrow",
        preview="results/{study}/{scale}/data/{dataset}/{ratio}/preview.png",
    log:
        "results/{study}/{scale}/logs/synthesize_dataset/{dataset}/{ratio}.log",
    benchmark:
        "results/{study}/{scale}/benchmarks/synthesize_dataset/{dataset}/{ratio}.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        mem_mb=memory_mb("synthesize_dataset"),
        runtime=minutes("synthesize_dataset"),
    params:
        code=code("synthesize_dataset", dataset_kinds),
        files=source_digests,
        source=dataset_param("source"),
        bias=dataset_param("bias"),
        ratio=ratio,
        test=dataset_param("test"),
        channels=dataset_param("channels"),
        size=dataset_param("size"),
        pad=dataset_param("pad"),
        normalise=dataset_param("normalise"),
        seed=dataset_param("seed"),
    message:
        "Make {wildcards.dataset} with aligned ratio {wildcards.ratio}"
    script:
        "../scripts/synthesize_dataset.py"
