# Sourced: a temporary environment with pinned packages, removed at the end.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
packages() {
  "$folder/env/bin/python" -m pip install -q --disable-pip-version-check "$@" 2>/dev/null
}
torch() {
  packages ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} "torch==$1"
}
python="$folder/env/bin/python"
