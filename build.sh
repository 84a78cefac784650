#!/usr/bin/env bash
# Builds the images: ./build.sh [options of `initramfs-overlay build`]; see ./build.sh --help and docs/build.md.
# Builds a bundle for machines without a compiler: ./build.sh --bundle [options of `initramfs-overlay bundle`]
#
# Makes the command target/release/initramfs-overlay first, which does the rest: it fetches what is missing (std's
# sources, Zig, cargo-zigbuild, libclang, libblkid's source, BusyBox) into its cache and builds every image.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
toolchain=$(sed -n 's/^channel = "\(.*\)"/\1/p' "$here/rust-toolchain.toml")

say() { printf '%s\n' "$*" >&2; }

subcommand=build
options=()
for option; do
    if [ "$option" = --bundle ]; then subcommand=bundle; else options+=("$option"); fi
done

# All that is missing at once, with how to get it.
missing=()
command -v cargo >/dev/null || missing+=("cargo: Rust $toolchain, from rustup")
command -v cc >/dev/null || missing+=("cc: a C compiler for this machine (Debian: apt-get install gcc libc6-dev)")
command -v python3 >/dev/null || [ -n "${INITRAMFS_OVERLAY_TOOLS:-}" ] ||
    missing+=("python3: fetches Zig (Debian: apt-get install python3 python3-pip), or set INITRAMFS_OVERLAY_TOOLS")
if [ ${#missing[@]} -gt 0 ]; then
    say "build.sh: not installed:"
    for line in "${missing[@]}"; do say "  $line"; done
    exit 1
fi

# rustup may be set up not to install the pinned tool chain by itself.
if command -v rustup >/dev/null && ! (cd "$here" && rustc --version >/dev/null 2>&1); then
    say "installing Rust $toolchain with std's sources (rustup) ..."
    (cd "$here" && rustup toolchain install "$toolchain" --profile minimal --component rust-src,rustfmt,clippy) >&2 || {
        say "build.sh: Rust $toolchain is not installed and could not be fetched."
        say "  With a network: rustup toolchain install $toolchain --profile minimal --component rust-src"
        say "  Without one: copy ~/.rustup/toolchains/$toolchain-* from another machine."
        exit 1
    }
fi

# Quiet where nobody watches, and quick when nothing changed.
quiet=()
[ -t 2 ] || quiet=(--quiet)
[ -x "$here/target/release/initramfs-overlay" ] || say "building the command initramfs-overlay (once, a few minutes) ..."
(cd "$here" && cargo build "${quiet[@]}" --release --locked --package initramfs-overlay --target-dir "$here/target") || {
    say "build.sh: the command could not be built. If crates could not be fetched: docs/build.md, \"Without a network\"."
    exit 1
}

INITRAMFS_OVERLAY_SOURCE="${INITRAMFS_OVERLAY_SOURCE:-$here}" exec "$here/target/release/initramfs-overlay" "$subcommand" "${options[@]}"
