rule distill:
    input:
        train=rules.synthesize_dataset.output.train,
        weights=sample_weights,
        models=model_files,
    output:
        distilled="results/{study}/{scale}/distilled/{dataset}/{ratio}/{distiller}/{debias}/ipc{ipc}/seed{seed}/distilled.safetensors",
        history="results/{study}/{scale}/distilled/{dataset}/{ratio}/{distiller}/{debias}/ipc{ipc}/seed{seed}/history.parquet",
        preview=report(
            "results/{study}/{scale}/distilled/{dataset}/{ratio}/{distiller}/{debias}/ipc{ipc}/seed{seed}/preview.png",
            caption="../report/distilled.rst",
            category="Distilled images",
            subcategory="{dataset} {ratio}",
            labels={"distiller": "{distiller}", "debias": "{debias}", "IPC": "{ipc}", "seed": "{seed}"},
        ),
        run="results/{study}/{scale}/distilled/{dataset}/{ratio}/{distiller}/{debias}/ipc{ipc}/seed{seed}/run.json",
    log:
        "results/{study}/{scale}/logs/distill/{dataset}/{ratio}/{distiller}/{debias}/ipc{ipc}/seed{seed}.log",
    benchmark:
        "results/{study}/{scale}/benchmarks/distill/{dataset}/{ratio}/{distiller}/{debias}/ipc{ipc}/seed{seed}.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: study.config["threads"]
    resources:
        mem_mb=memory_mb("distill"),
        runtime=minutes("distill"),
        gpu=gpu,
    params:
        code=code("distill", distiller_kinds),
        files=source_digests,
        settings=distiller_settings,
        network=network_of(distiller_settings),
        debias=debias_settings,
        ipc=ipc,
        seed=seed,
        device=study.config["device"],
        precision=study.config["precision"],
        threads=study.config["threads"],
        state="results/{study}/{scale}/state/distilled/{dataset}/{ratio}/{distiller}/{debias}/ipc{ipc}/seed{seed}.safetensors",
    message:
        "Distil {wildcards.dataset} {wildcards.ratio} with {wildcards.distiller}, {wildcards.debias}, "
        "IPC {wildcards.ipc}, seed {wildcards.seed}"
    script:
        "../scripts/distill.py"
