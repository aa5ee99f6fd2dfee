rule evaluate:
    input:
        distilled=rules.distill.output.distilled,
        test=rules.synthesize_dataset.output.test,
        train=train_split_of_rows,
    output:
        evaluation="results/{study}/{scale}/evaluations/{dataset}/{ratio}/{distiller}/{debias}/ipc{ipc}/seed{seed}/{evaluation}.parquet",
    log:
        "results/{study}/{scale}/logs/evaluate/{dataset}/{ratio}/{distiller}/{debias}/ipc{ipc}/seed{seed}/{evaluation}.log",
    benchmark:
        "results/{study}/{scale}/benchmarks/evaluate/{dataset}/{ratio}/{distiller}/{debias}/ipc{ipc}/seed{seed}/{evaluation}.tsv"
    wildcard_constraints:
        evaluation=evaluations_of("training"),
    conda:
        "../../envs/torch.yaml"
    threads: study.config["threads"]
    resources:
        mem_mb=memory_mb("evaluate"),
        runtime=minutes("evaluate"),
        gpu=gpu,
    params:
        code=code("evaluate", training_kinds),
        settings=evaluation_settings,
        network=network_of(evaluation_settings),
        steps=whole_steps,
        seed=seed,
        device=study.config["device"],
        precision=study.config["precision"],
        threads=study.config["threads"],
        state="results/{study}/{scale}/state/evaluations/{dataset}/{ratio}/{distiller}/{debias}/ipc{ipc}/seed{seed}/{evaluation}.safetensors",
    message:
        "Evaluate {wildcards.dataset} {wildcards.ratio} {wildcards.distiller} {wildcards.debias} IPC {wildcards.ipc}, "
        "seed {wildcards.seed}, with {wildcards.evaluation}"
    script:
        "../scripts/evaluate.py"
