rule plot:
    input:
        evaluations=drawn_from("evaluations", rules.evaluate.output.evaluation),
        weights=drawn_from("weights", rules.estimate_weights.output.weights),
        histories=drawn_from("histories", rules.train_surrogate.output.history),
        embeddings=drawn_from("embeddings", rules.train_surrogate.output.embeddings),
        datasets=drawn_from("datasets", rules.synthesize_dataset.output.train),
        distilled=drawn_from("distilled", rules.distill.output.distilled),
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
        kind=part(figure_settings, "kind"),
        settings=figure_settings,
        caption=part(figure_settings, "caption"),
    message:
        "Draw the figure {wildcards.figure}"
    script:
        "../scripts/plot.py"
