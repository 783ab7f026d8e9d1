# shellcheck shell=sh
# $1: how many versions of the package are installed now.
systemd-sysusers holdfast.conf || :
systemd-tmpfiles --create holdfast.conf || :
if [ "$1" -eq 1 ]; then
    # Whether an installed service is enabled is for the system's presets to say; nothing is started.
    for unit in holdfast.socket holdfast.service; do
        if [ -e "/usr/lib/systemd/system/$unit" ]; then systemctl --no-reload preset "$unit" || :; fi
    done
fi
if [ -d /run/systemd/system ]; then systemctl daemon-reload || :; fi
