# Intermediate files that were deleted although results made from them exist.
rule deleted:
    input:
        deleted_files,
    localrule: True
    message:
        "Deleted files are made again"


if ALONE and not workflow.subprocess_exec and (gone := deleted_files()):
    more = f" and {len(gone) - 1} more are" if len(gone) > 1 else " is"
    print(
        f"ddbias: {gone[0]}{more} missing, but not the results made from it; if this run does not make it again, "
        "`make run ARGS=deleted` (with CONFIG and SCALE as now) does; results rerun only if it differs from before",
        file=sys.stderr,
    )
