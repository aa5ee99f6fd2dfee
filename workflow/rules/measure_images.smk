# The output pattern is that of `evaluate`: whatever reads evaluations needs to know of one file only.
rule measure_images:
    input:
        distilled=rules.distill.output.distilled,
        train=rules.synthesize_dataset.output.train,
        test=rules.synthesize_dataset.output.test,
        attribute_model=rules.train_attribute_model.output.model,
        surrogate=embedding_model,
    output:
        evaluation="results/{study}/{scale}/evaluations/{dataset}/{ratio}/{distiller}/{debias}/ipc{ipc}/seed{seed}/{evaluation}.parquet",
    log:
        "results/{study}/{scale}/logs/measure_images/{dataset}/{ratio}/{distiller}/{debias}/ipc{ipc}/seed{seed}/{evaluation}.log",
    benchmark:
        "results/{study}/{scale}/benchmarks/measure_images/{dataset}/{ratio}/{distiller}/{debias}/ipc{ipc}/seed{seed}/{evaluation}.tsv"
    wildcard_constraints:
        evaluation=evaluations_of("images"),
    conda:
        "../../envs/torch.yaml"
    threads: study.config["threads"]
    resources:
        mem_mb=memory_mb("measure_images"),
        runtime=minutes("measure_images"),
        gpu=gpu,
    params:
        code=code("measure_images", image_kinds),
        settings=evaluation_settings,
        network=network_of(evaluation_settings),
        seed=seed,
        device=study.config["device"],
        precision=study.config["precision"],
        threads=study.config["threads"],
    message:
        "Measure the images of {wildcards.dataset} {wildcards.ratio} {wildcards.distiller} {wildcards.debias} "
        "IPC {wildcards.ipc}, seed {wildcards.seed}, with {wildcards.evaluation}"
    script:
        "../scripts/measure_images.py"
