rule write_report:
    input:
        template=resource("report.html.j2"),
        beside=[resource(name) for name in ("report.css", "report.js", "page.html.j2", "rows.html.j2")],
        tables=report_tables,
        figures=report_figures,
        distilled=report_sets,
        weights=report_weights,
        evaluations=report_evaluations,
        advice=report_advice,
    output:
        page=report(
            "results/{study}/{scale}/report/index.html",
            caption="../report/page.rst",
            category="Page",
            labels={"page": "all sets, with filter and sort"},
        ),
    log:
        "results/{study}/{scale}/logs/write_report/index.log",
    localrule: True
    conda:
        "../../envs/plot.yaml"
    params:
        code=code("write_report"),
        title=study.name,
        distilled=distilled_folders,
        captions={name: figure["caption"] for name, figure in study.config["figures"].items()},
    message:
        "Write the report"
    script:
        "../scripts/write_report.py"
