rule estimate_weights:
    input:
        embeddings=embeddings,
        train=rules.synthesize_dataset.output.train,
    output:
        weights="results/{study}/{scale}/weights/{dataset}/{ratio}/{debias}/seed{seed}/weights.parquet",
    log:
        "results/{study}/{scale}/logs/estimate_weights/{dataset}/{ratio}/{debias}/seed{seed}.log",
    benchmark:
        "results/{study}/{scale}/benchmarks/estimate_weights/{dataset}/{ratio}/{debias}/seed{seed}.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: study.config["threads"]
    resources:
        mem_mb=memory_mb("estimate_weights"),
        runtime=minutes("estimate_weights"),
    params:
        code=code("estimate_weights", tried_kinds),
        settings=debias_settings,
        seed=seed,
        threads=study.config["threads"],
    message:
        "Estimate the weights {wildcards.debias} of {wildcards.dataset} {wildcards.ratio}, seed {wildcards.seed}"
    script:
        "../scripts/estimate_weights.py"
