rule advise:
    input:
        train=rules.synthesize_dataset.output.train,
    output:
        advice="results/{study}/{scale}/data/{dataset}/{ratio}/advice.md",
        picture="results/{study}/{scale}/data/{dataset}/{ratio}/advice.png",
    log:
        "results/{study}/{scale}/logs/advise/{dataset}/{ratio}.log",
    conda:
        "../../envs/torch.yaml"
    threads: study.config["threads"]
    resources:
        mem_mb=memory_mb("advise"),
        runtime=minutes("advise"),
        gpu=gpu,
    params:
        code=code("advise", advice_kinds),
        seed=0,
        device=study.config["device"],
        precision=study.config["precision"],
        threads=study.config["threads"],
        state="results/{study}/{scale}/state/advise/{dataset}/{ratio}.safetensors",
    message:
        "Look for a bias in {wildcards.dataset} with aligned ratio {wildcards.ratio}"
    script:
        "../scripts/advise.py"


rule advice:
    input:
        advice_files(),
    log:
        f"results/{study.name}/{study.scale}/logs/advice.md",
    localrule: True
    conda:
        "../../envs/plot.yaml"
    message:
        "Is there a bias in the data sets, and what to do about it?"
    shell:
        "cat -- {input:q} | tee -- {log:q}"
