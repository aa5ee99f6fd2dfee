# The workflow is workflow/Snakefile; here for `snakemake` without further words.
include: "workflow/Snakefile"


workflow.default_target = "all"  # Snakemake 9.27 forgets that of an included file
