# shellcheck shell=sh
# $1: how many versions of the package are left: at an upgrade the new one, whose program is here by now.
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload || :
    # Its containers run on meanwhile, and it adopts them.
    if [ "$1" -ge 1 ]; then systemctl try-restart holdfast.service || :; fi
fi
# Whatever somebody put there stays.
if [ "$1" -eq 0 ]; then rmdir /etc/holdfast 2>/dev/null || :; fi
