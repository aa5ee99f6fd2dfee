rule write_export:
    input:
        card=resource("dataset_card.md"),
        readme=resource("dd_ranking.md"),
        distilled=of_finished(rules.distill.output.distilled),
        runs=of_finished(rules.distill.output.run),
        trains=of_finished(rules.synthesize_dataset.output.train),
        evaluations=of_finished(rules.evaluate.output.evaluation),
    output:
        # The folders are not outputs: Snakemake would empty them first, whatever they hold.
        summary="results/{study}/{scale}/export/summary.md",
    log:
        "results/{study}/{scale}/logs/write_export.log",
    localrule: True
    conda:
        "../../envs/torch.yaml"
    params:
        code=code("write_export"),
        folder=export_folder,
        planned=lambda wildcards: len(distilled_files()),
        lost=export_is_lost,
    message:
        "Export the finished distilled sets"
    script:
        "../scripts/write_export.py"


rule export:
    input:
        export_files(),
    log:
        f"results/{study.name}/{study.scale}/logs/export.md",
    localrule: True
    conda:
        "../../envs/plot.yaml"
    message:
        "Exported and missing sets"
    shell:
        "cat -- {input:q} | tee -- {log:q}"
