rule check_data:
    input:
        train=rules.synthesize_dataset.output.train,
        test=rules.synthesize_dataset.output.test,
    output:
        report="results/{study}/{scale}/data/{dataset}/{ratio}/check.md",
    log:
        "results/{study}/{scale}/logs/check_data/{dataset}/{ratio}.log",
    conda:
        "../../envs/torch.yaml"
    resources:
        mem_mb=memory_mb("check_data"),
        runtime=minutes("check_data"),
    params:
        code=code("check_data", dataset_kinds),
        source=part(dataset_settings, "source"),
        size=part(dataset_settings, "size"),
        ipc=largest_ipc,
    message:
        "Check {wildcards.dataset} with aligned ratio {wildcards.ratio}"
    script:
        "../scripts/check_data.py"


rule check:
    input:
        check_files(),
        finished(advice_files()),
    log:
        f"results/{study.name}/{study.scale}/logs/check_data.md",
    localrule: True
    conda:
        "../../envs/plot.yaml"
    message:
        "Counts and problems of the data sets"
    shell:
        "cat -- {input:q} | tee -- {log:q}"
