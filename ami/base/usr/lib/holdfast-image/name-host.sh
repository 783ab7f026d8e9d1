#!/bin/sh
# Names this host, once: by its kernel's name if it was given one, else after its machine's id.
set -eu
name=$(cat /proc/sys/kernel/hostname)
case $name in
'' | '(none)' | localhost | localhost.*)
    # Derived from the id, which is itself not for showing (machine-id(5)).
    id=$(systemd-id128 machine-id --app-specific=6c1f3b0e3b8d4a53a9c1c6e7b1f0a9d2)
    name=host-$(printf %.8s "$id")
    ;;
esac
echo "$name" >/etc/hostname
echo "$name" >/proc/sys/kernel/hostname
