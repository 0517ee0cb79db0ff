#!/bin/bash
# One run on a Cloud TPU slice of one or more hosts, with JAX.
#
#   TPU=transferkit ZONE=us-west4-a NFS=10.0.0.2:/shared ./tpu-vm.sh recipe.yaml
#
# Makes the slice if it is not there, and runs the recipe on all its hosts. NFS is a volume (such as Filestore) with
# the recipe, the pictures and a checkout of transferkit (transferkit/); the run and the stored features go there too.
# When a spot slice is taken away, delete it and give the same command again: the run goes on. Hosts must reach each
# other at ports 8476 and 8477. Delete the slice at the end; it costs money while it stands.
#
# Not tried: no TPU and no Google Cloud were at hand. Checked by tests/test_deploy.py: the syntax, and what a host does,
# with stand-ins for curl and transferkit.
set -euo pipefail
recipe=${1:?usage: tpu-vm.sh RECIPE}
shared=${SHARED:-/mnt/shared}

metadata() {
  curl --silent --fail --header "Metadata-Flavor: Google" \
    "http://metadata.google.internal/computeMetadata/v1/instance/attributes/$1"
}

on_host() {
  # Endpoints are host names, or name:id:address in older slices (as JAX reads them in jax/_src/clusters).
  local endpoint addresses=()
  for endpoint in $(metadata worker-network-endpoints | tr , " "); do addresses+=("${endpoint##*:}:8476"); done
  TRANSFERKIT_CLUSTER=$(IFS=,; echo "${addresses[*]}")
  TRANSFERKIT_PROCESS=$(metadata agent-worker-number)
  export TRANSFERKIT_CLUSTER TRANSFERKIT_PROCESS TRANSFERKIT_HOME=$shared/cache
  local code tries=0
  while true; do
    code=0
    transferkit finetune "$shared/$recipe" --set runtime.backend=jax --set runtime.strategy=tpu \
      --run-dir "$shared/runs/$(basename "$recipe" .yaml)" || code=$?
    tries=$((tries + 1))
    # 75: a peer died, and its own loop starts it again; the run goes on in its folder. 143: this host is taken away.
    if [[ $code -ne 75 || $tries -ge 20 ]]; then return "$code"; fi
    sleep "${RETRY_S:-10}"
  done
}

set_up_host() {
  sudo mkdir -p "$shared"
  mountpoint -q "$shared" || { sudo apt-get install -qy nfs-common && sudo mount "$NFS" "$shared"; }
  # The slice's own Python may be older than the 3.11 that transferkit needs.
  sudo apt-get install -qy python3.11-venv
  [[ -d ~/transferkit ]] || python3.11 -m venv ~/transferkit
  ~/transferkit/bin/pip install --quiet "$shared/transferkit[jax]" "jax[tpu]"
  export PATH=~/transferkit/bin:$PATH
}

if [[ -n ${ON_HOST-} ]]; then
  if [[ -n ${NFS-} ]]; then set_up_host; fi
  on_host
  exit
fi

: "${TPU:?name of the slice}" "${ZONE:?such as us-west4-a}" "${NFS:?such as 10.0.0.2:/shared}"
tpus() { gcloud compute tpus tpu-vm "$1" "$TPU" --zone="$ZONE" "${@:2}"; }
tpus describe >/dev/null 2>&1 || tpus create --spot \
  --accelerator-type="${TYPE:-v5litepod-16}" --version="${IMAGE:-v2-alpha-tpuv5-lite}"
gcloud compute tpus tpu-vm scp "$0" "$TPU":tpu-vm.sh --zone="$ZONE" --worker=all
tpus ssh --worker=all --command="ON_HOST=1 NFS='$NFS' SHARED='$shared' bash tpu-vm.sh '$recipe'"
