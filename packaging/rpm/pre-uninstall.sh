# shellcheck shell=sh
# $1: how many versions of the package will be left. At an upgrade the agent runs on.
if [ "$1" -eq 0 ]; then
    for unit in holdfast-leave.service holdfast.socket holdfast.service; do
        if [ ! -e "/usr/lib/systemd/system/$unit" ]; then continue; fi
        systemctl --no-reload disable "$unit" || :
        if [ -d /run/systemd/system ]; then systemctl stop "$unit" || :; fi
    done
fi
