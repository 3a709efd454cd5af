#!/bin/sh
# Builds llama_oracle against a llama.cpp tree that was built with BUILD_SHARED_LIBS=ON.
# usage: models/oracle/build.sh LLAMA_CPP_SOURCE LLAMA_CPP_BUILD OUTPUT
set -eu
if [ $# -ne 3 ]; then
    echo "usage: $0 LLAMA_CPP_SOURCE LLAMA_CPP_BUILD OUTPUT" >&2
    exit 2
fi
source=$1 lib=$(cd "$2/bin" && pwd) output=$3
${CXX:-clang++} -std=c++17 -O2 -Wall -Wextra -Werror \
    -I "$source/include" -I "$source/ggml/include" \
    "$(dirname "$0")/llama_oracle.cpp" -o "$output" \
    -L "$lib" -lllama -lggml -lggml-base -Wl,-rpath,"$lib"
