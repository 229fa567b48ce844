#!/bin/sh
# What does a process of a container see? Its image, read-only or not, and nothing else of this machine that could be written to; it is
# process 1 of its own. Runs under `unshare --mount`, as root.
#
#   enter.sh build|run VIEW ROOT NODE WORKDIR [FROM:TO]... -- COMMAND...
#
# VIEW: an empty directory. ROOT: what the steps of the image made. NODE: that of its base. FROM:TO: volumes, which may be written to.
# build: with the programs of this machine in place of those of the base image. run: its libraries alone, so that no shell and no npm is there.
set -eu
use=$1 view=$2 root=$3 node=$4 workdir=$5
shift 5

put() { # put FROM TO [OPTIONS]
  if [ -d "$1" ]; then mkdir -p "$view$2"; else mkdir -p "$view${2%/*}" && : >"$view$2"; fi
  mount -o "bind${3:+,$3}" "$1" "$view$2"
}

mount -t tmpfs -o mode=755 tmpfs "$view"
for name in bin sbin lib lib32 lib64; do
  if [ -L "/$name" ]; then cp -P "/$name" "$view/"; elif [ -d "/$name" ]; then put "/$name" "/$name" ro; fi
done
put /etc /etc ro
for name in null zero random urandom; do put "/dev/$name" "/dev/$name"; done
mkdir -p "$view/proc" "$view/tmp"
if [ "$use" = build ]; then
  put /usr /usr ro
  mount -t tmpfs tmpfs "$view/usr/local"
  npm=$(dirname "$(dirname "$(readlink -f "$(command -v npm)")")")
  put "$npm" /usr/local/lib/node_modules/npm ro
  mkdir -p "$view/usr/local/bin" && ln -s ../lib/node_modules/npm/bin/npm-cli.js "$view/usr/local/bin/npm"
  mount -t tmpfs -o mode=1777 tmpfs "$view/tmp"
  mkdir -p "$view/root" && mount -t tmpfs tmpfs "$view/root"
  access=
else
  for name in /usr/lib*; do put "$name" "$name" ro; done
  put "$(command -v setpriv)" /usr/bin/setpriv ro
  access=ro
fi
put "$node" /usr/local/bin/node ro
for made in "$root"/*; do put "$made" "/${made##*/}" $access; done
while [ "$1" != -- ]; do
  put "${1%%:*}" "${1#*:}"
  shift
done
shift
mount -o remount,ro "$view"

# Signals reach process 1 as an engine sends them, from outside of its namespace: one that it does not handle does nothing.
# shellcheck disable=SC2016
exec unshare --pid sh -c '
  view=$1 workdir=$2
  shift 2
  (mount -t proc proc "$view/proc"; exec unshare --root="$view" --wd="$workdir" /usr/bin/setpriv --pdeathsig KILL "$@") &
  trap "kill -TERM $!" TERM
  while code=0; wait $! || code=$?; kill -0 $! 2>/dev/null; do :; done
  exit $code' sh "$view" "$workdir" "$@"
