rule make_table:
    input:
        evaluations=table_evaluations,
        published=resource("published_results.csv"),
    output:
        csv=report(
            "results/{study}/{scale}/tables/{table}.csv",
            caption="../report/table.rst",
            category="Tables",
            labels={"table": "{table}", "format": "CSV"},
        ),
        md="results/{study}/{scale}/tables/{table}.md",
        tex="results/{study}/{scale}/tables/{table}.tex",
        html=report(
            "results/{study}/{scale}/tables/{table}.html",
            caption="../report/table.rst",
            category="Tables",
            labels={"table": "{table}", "format": "HTML"},
        ),
    log:
        "results/{study}/{scale}/logs/make_table/{table}.log",
    localrule: True
    conda:
        "../../envs/plot.yaml"
    params:
        code=code("make_table"),
        rows=table_rows,
        caption=part(table_settings, "caption"),
        spread=part(table_settings, "spread"),
    message:
        "Make the table {wildcards.table}"
    script:
        "../scripts/make_table.py"
