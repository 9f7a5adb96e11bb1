#!/usr/bin/env bash
# Makes the environments of the peers of benchmarks/rl_iteration.py, generate.py and train_step.py,
# from the versions in constraints/peers-*.txt, in .cache/peers/:
#
#     benchmarks/make_peers.sh              # trl and tunix
#     benchmarks/make_peers.sh trl          # one of trl, tunix, llama
#
# Each needs the Python that its versions were tried with: TRL_PYTHON, TUNIX_PYTHON and LLAMA_PYTHON
# may say where it is. The first two take 1.5 GB each; where the registry serves torch with CUDA,
# TRL's takes some GB more. llama.cpp is built from source, which takes a compiler and many minutes.
set -euo pipefail
cd "$(dirname "$0")/.."

make_peer() {
    local name=$1 python=$2 version=$3 variable=$4
    shift 4
    local folder=.cache/peers/$name
    local usable="import ensurepip, ssl, venv; sys.exit('%d.%d' % sys.version_info[:2] != '$version')"
    if ! "$python" -c "import sys; $usable" >/dev/null 2>&1; then
        echo "No working Python $version (with venv and ssl) at '$python'." \
            "Name one: $variable=/path/to/python benchmarks/make_peers.sh $name" >&2
        exit 1
    fi
    echo "Making $folder with $("$python" --version) and constraints/peers-$name.txt"
    rm -rf "$folder"
    "$python" -m venv "$folder"
    if ! "$folder/bin/python" -m pip install --quiet --quiet --disable-pip-version-check \
        --constraint "constraints/peers-$name.txt" "$@"; then
        rm -rf "$folder"
        exit 1
    fi
}

if [ $# -eq 0 ]; then
    set -- trl tunix
fi
for name in "$@"; do
    case $name in
        trl) make_peer trl "${TRL_PYTHON:-python3.11}" 3.11 TRL_PYTHON trl transformers torch ;;
        llama) make_peer llama "${LLAMA_PYTHON:-python3.11}" 3.11 LLAMA_PYTHON llama-cpp-python ;;
        tunix) make_peer tunix "${TUNIX_PYTHON:-python3.12}" 3.12 TUNIX_PYTHON google-tunix ;;
        *)
            echo "Unknown peer '$name'; the known ones are trl, tunix and llama." >&2
            exit 1
            ;;
    esac
done
