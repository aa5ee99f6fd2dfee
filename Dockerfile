# ddbias with the packages of envs/*.lock, every file checked by its hash where the lock has one. Build and run:
#   docker build --tag ddbias .
#   docker run --rm --user "$(id -u):$(id -g)" --volume "$PWD/study:/study" ddbias
# docs/cluster.md#how-do-i-run-in-a-container
FROM python:3.12-slim-bookworm

# make, for the line below; g++, for `precision: fast`
RUN apt-get update \
    && apt-get install --yes --no-install-recommends make g++ \
    && rm -rf /var/lib/apt/lists/*

RUN useradd --create-home ddbias && mkdir /ddbias /study && chown ddbias /ddbias /study
USER ddbias
WORKDIR /ddbias
COPY --chown=ddbias . .
RUN make env PYTHON=python3.12

# Any user may run: whoever has no home here has these caches.
ENV XDG_CACHE_HOME=/tmp/cache MPLCONFIGDIR=/tmp/cache/matplotlib PATH=/ddbias/.venv/bin:$PATH
WORKDIR /study
ENTRYPOINT ["/ddbias/.venv/bin/python", "-m", "snakemake", "--snakefile", "/ddbias/Snakefile"]
CMD ["--cores", "all", "--workflow-profile", "/ddbias/workflow/profiles/workstation"]
