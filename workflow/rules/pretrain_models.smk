rule pretrain_models:
    input:
        train=pool_train_split,
        weights=pool_weights,
    output:
        member="results/{study}/{scale}/models/{dataset}/{ratio}/{models}/{debias}/member{member}.safetensors",
    log:
        "results/{study}/{scale}/logs/pretrain_models/{dataset}/{ratio}/{models}/{debias}/member{member}.log",
    benchmark:
        "results/{study}/{scale}/benchmarks/pretrain_models/{dataset}/{ratio}/{models}/{debias}/member{member}.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: study.config["threads"]
    resources:
        mem_mb=memory_mb("pretrain_models"),
        runtime=minutes("pretrain_models"),
        gpu=gpu,
    params:
        code=code("pretrain_models", pool_kinds),
        settings=pool_settings,
        network=network_of(pool_settings),
        debias=pool_debias,
        member=member,
        device=study.config["device"],
        precision=study.config["precision"],
        threads=study.config["threads"],
        state="results/{study}/{scale}/state/models/{dataset}/{ratio}/{models}/{debias}/member{member}.safetensors",
    message:
        "Train member {wildcards.member} of the models {wildcards.models} on {wildcards.dataset} {wildcards.ratio}"
    script:
        "../scripts/pretrain_models.py"
