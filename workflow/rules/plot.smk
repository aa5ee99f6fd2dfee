rule plot:
    input:
        evaluations=figure_evaluations,
        weights=figure_weights,
        histories=figure_histories,
        embeddings=figure_embeddings,
        datasets=figure_datasets,
        distilled=figure_distilled,
    output:
        png=report(
            "results/{study}/{scale}/figures/{figure}.png",
            caption="../report/figure.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
        svg="results/{study}/{scale}/figures/{figure}.svg",
    log:
        "results/{study}/{scale}/logs/plot/{figure}.log",
    localrule: True
    conda:
        "../../envs/plot.yaml"
    params:
        code=code("plot", figure_kinds),
        kind=figure_kind,
        settings=figure_settings,
        caption=figure_caption,
    message:
        "Draw the figure {wildcards.figure}"
    script:
        "../scripts/plot.py"
