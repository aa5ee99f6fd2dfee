rule synthesize_dataset:
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
        source=part(dataset_settings, "source"),
        bias=part(dataset_settings, "bias"),
        ratio=ratio,
        test=part(dataset_settings, "test"),
        channels=part(dataset_settings, "channels"),
        size=part(dataset_settings, "size"),
        pad=part(dataset_settings, "pad"),
        normalise=part(dataset_settings, "normalise"),
        attribute_noise=part(dataset_settings, "attribute_noise"),
        seed=part(dataset_settings, "seed"),
    message:
        "Make {wildcards.dataset} with aligned ratio {wildcards.ratio}"
    script:
        "../scripts/synthesize_dataset.py"
