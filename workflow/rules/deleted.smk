# What was deleted although results that were made from it are there.
localrules:
    deleted,


rule deleted:
    input:
        deleted_files,
    message:
        "Deleted files are made again"


if not workflow.subprocess_exec and (gone := deleted_files()):
    more = f" and {len(gone) - 1} more were" if len(gone) > 1 else " was"
    print(
        f"ddbias: {gone[0]}{more} deleted, but not what was made from it; `make run ARGS=deleted` (with CONFIG and SCALE "
        "as now) makes it again, and results stay as they are if it is the same as before",
        file=sys.stderr,
    )
