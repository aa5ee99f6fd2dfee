rule train_surrogate:
    input:
        train=rules.synthesize_dataset.output.train,
    output:
        model="results/{study}/{scale}/surrogates/{dataset}/{ratio}/{surrogate}/seed{seed}/model.safetensors",
        embeddings="results/{study}/{scale}/surrogates/{dataset}/{ratio}/{surrogate}/seed{seed}/embeddings.arrow",
        history="results/{study}/{scale}/surrogates/{dataset}/{ratio}/{surrogate}/seed{seed}/history.parquet",
    log:
        "results/{study}/{scale}/logs/train_surrogate/{dataset}/{ratio}/{surrogate}/seed{seed}.log",
    benchmark:
        "results/{study}/{scale}/benchmarks/train_surrogate/{dataset}/{ratio}/{surrogate}/seed{seed}.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: study.config["threads"]
    resources:
        mem_mb=memory_mb("train_surrogate"),
        runtime=minutes("train_surrogate"),
        gpu=gpu,
    params:
        code=code("train_surrogate", surrogate_kinds),
        settings=surrogate_settings,
        network=network_of(surrogate_settings),
        seed=seed,
        device=study.config["device"],
        precision=study.config["precision"],
        threads=study.config["threads"],
        state="results/{study}/{scale}/state/surrogates/{dataset}/{ratio}/{surrogate}/seed{seed}.safetensors",
    message:
        "Train the surrogate {wildcards.surrogate} on {wildcards.dataset} {wildcards.ratio}, seed {wildcards.seed}"
    script:
        "../scripts/train_surrogate.py"
