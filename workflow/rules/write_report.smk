rule write_report:
    input:
        template=resource("report.html.j2"),
        beside=[resource(name) for name in ("report.css", "report.js", "page.html.j2", "rows.html.j2")],
        tables=lambda wildcards: table_files(".html"),
        figures=lambda wildcards: figure_files(".png"),
        # One more makes the page again, even before its evaluation.
        distilled=lambda wildcards: shown(distilled_files()),
        weights=lambda wildcards: shown(weights_files()),
        # All that the grid names, so that the page comes last even where no table asks for a cell.
        evaluations=lambda wildcards: shown(evaluation_files()),
        # Shown if it was asked for.
        advice=lambda wildcards: finished(advice_files()),
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
        distilled=lambda wildcards: [os.path.dirname(path) for path in distilled_files()],
        captions={name: figure["caption"] for name, figure in study.config["figures"].items()},
    message:
        "Write the report"
    script:
        "../scripts/write_report.py"
