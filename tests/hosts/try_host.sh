#!/usr/bin/env bash
# A real PyMARL fork, for real: plugs the learner in, trains, diagnoses the Sacred run, takes the changes back.
#
#   tests/hosts/try_host.sh CHECKOUT [ARGUMENTS OF THE HOST'S main.py]
#   tests/hosts/try_host.sh ../epymarl --env-config=gymma with env_args.time_limit=50 \
#       env_args.key=lbforaging:Foraging-8x8-2p-3f-v3 t_max=12000 use_cuda=False
#
# Needs the host's own packages and this one in the same Python (PYTHON=...). Fails where the reconstruction does not
# fall, where there are fewer than 8 VAE logs for each 12,000 steps, or where the VAE is not healthy.
set -euo pipefail
here=$(cd "$(dirname "$0")/../.." && pwd)
host=$(cd "$1" && pwd)
shift
python=${PYTHON:-python}
out=$(mktemp -d)

"$python" "$here/main.py" plugin with host="$host" apply=True
trap '"$python" "$here/main.py" plugin with host="$host" undo=True; git -C "$host" status --short' EXIT
cd "$host"
for main in src/main.py main.py */main.py; do [ -f "$main" ] && break; done
touch "$out/begun"
"$python" "$main" --config=omg_vae "$@" > "$out/console.txt" 2>&1 || { tail -30 "$out/console.txt"; exit 1; }
run=$(find . -name metrics.json -newer "$out/begun" -printf '%h\n' -quit)
"$python" - "$host/$run" <<'PY'
import json, sys

metrics = json.load(open(f"{sys.argv[1]}/metrics.json"))
steps, values = metrics["vae_recon_loss"]["steps"], metrics["vae_recon_loss"]["values"]
losses = [v if isinstance(v, float) else v.get("value") for v in values]
print(f"reconstruction {losses[0]:.3f} -> {losses[-1]:.3f} in {len(losses)} logs until step {steps[-1]}; "
      f"{len(metrics)} metrics")
assert losses[-1] < 0.8 * losses[0], "the reconstruction did not fall"
assert len(losses) >= 8 * steps[-1] / 12_000, "too few VAE logs: is learner_log_interval in the YAML read?"
PY
cd "$here"
"$python" main.py diagnose with run="$host/$run" out="$out/diagnosis"
"$python" - "$out/diagnosis/diagnosis.json" <<'PY'
import json, sys

verdict = json.load(open(sys.argv[1]))
print(f"healthy: {verdict['healthy']}")
sys.exit(not verdict["healthy"])
PY
