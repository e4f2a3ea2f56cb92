#!/usr/bin/env bash
# MNN 3.6.1: importing MNN.tools (any of its tools, as `mnnconvert` does) runs `pip install -U aliyun-log-python-sdk` in a
# shell, with the first pip of the path and not the interpreter's, and asks a server for a way to report there. What pip
# upgrades for it stays upgraded. The native converter, `_tools`, does none of that.
# Seen: "pip was called: install -U aliyun-log-python-sdk". pip is a stand-in here that notes its arguments, and there is no network.
. "$(dirname "$0")/common.sh"
packages MNN==3.6.1
mkdir "$folder/bin"
printf '#!/bin/sh\necho "$@" >>"%s/called"\nexit 1\n' "$folder" >"$folder/bin/pip"
chmod +x "$folder/bin/pip"
PATH="$folder/bin:$PATH" https_proxy=http://127.0.0.1:9 http_proxy=http://127.0.0.1:9 "$python" -W ignore -c "import MNN.tools" \
  >/dev/null 2>&1 || true
echo "pip was called: $(head -n 1 "$folder/called")"
grep -q "install -U aliyun-log-python-sdk" "$folder/called"
