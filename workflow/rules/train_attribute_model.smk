rule train_attribute_model:
    input:
        train=rules.synthesize_dataset.output.train,
        test=rules.synthesize_dataset.output.test,
    output:
        model="results/{study}/{scale}/attribute_models/{dataset}/{ratio}/{evaluation}.safetensors",
    log:
        "results/{study}/{scale}/logs/train_attribute_model/{dataset}/{ratio}/{evaluation}.log",
    benchmark:
        "results/{study}/{scale}/benchmarks/train_attribute_model/{dataset}/{ratio}/{evaluation}.tsv"
    wildcard_constraints:
        evaluation=evaluations_of("images"),
    conda:
        "../../envs/torch.yaml"
    threads: study.config["threads"]
    resources:
        mem_mb=memory_mb("train_attribute_model"),
        runtime=minutes("train_attribute_model"),
        gpu=gpu,
    params:
        code=code("train_attribute_model", attribute_kinds),
        settings=attribute_settings,
        network=network_of(evaluation_settings),
        device=study.config["device"],
        precision=study.config["precision"],
        threads=study.config["threads"],
    message:
        "Train the attribute classifier of {wildcards.evaluation} on {wildcards.dataset} {wildcards.ratio}"
    script:
        "../scripts/train_attribute_model.py"
