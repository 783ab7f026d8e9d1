#!/bin/sh
# A life of the package, in a root of its own: test-packages.sh runs it there, with /older.deb and
# /newer.deb. Where systemd does not run, the files alone tell.
set -eu

say() { echo "   $*"; }
die() {
    echo "live-deb: $*" >&2
    exit 1
}
status() { dpkg-query --show --showformat '${Status} ${Version}' holdfast; }
# What is there, but for what whoever installs and adds groups leaves anywhere.
files() {
    find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /tmp -o -path /run/systemd \
        -o -path /var/lib/dpkg -o -path /var/log -o -path /var/cache -o -path /var/lib/systemd \) \
        -prune -o -print | grep -vxE '/etc/(group-|gshadow-|passwd-|shadow-|\.pwd\.lock)' | sort
}
# For where systemd runs.
booted() { [ -d /run/systemd/system ]; }
pid_of_agent() { systemctl show --property=MainPID --value holdfast.service; }
socket_since() { systemctl show --property=ActiveEnterTimestampMonotonic --value holdfast.socket; }
# It is ready once it serves.
answers() {
    systemctl is-active --quiet holdfast.service ||
        { systemctl status --full holdfast.service || true; die "$1"; }
    holdfast status >/dev/null || die "$1"
}
settings=/etc/holdfast/holdfast.toml
state=/var/lib/holdfast/mine

if [ ! -d /tmp ]; then mkdir /tmp; fi
files >/tmp/before

dpkg --install /older.deb >/tmp/log 2>&1 || { cat /tmp/log; die "it cannot be installed"; }
holdfast --version
wants=/etc/systemd/system/multi-user.target.wants
[ -L "$wants/holdfast.service" ] || die "the agent is not enabled"
[ ! -e "$wants/holdfast-leave.service" ] || die "nobody asked for holdfast-leave"
grep -q '^holdfast:' /etc/group || die "there is no group"
if booted; then
    answers "installed, it does not run"
    [ "$(stat --format='%a %U %G' /etc/holdfast)" = "750 root holdfast" ] || die "/etc/holdfast is not closed"
    pid=$(pid_of_agent) since=$(socket_since)
fi
say "installed"

echo '# mine' >>"$settings"
mkdir -p /var/lib/holdfast /run/holdfast # where no agent made them
echo me >"$state"
dpkg --install /newer.deb >/tmp/log 2>&1 || { cat /tmp/log; die "it cannot be upgraded"; }
grep -qx '# mine' "$settings" || die "an upgrade undid what was edited"
[ "$(cat "$state")" = me ] || die "an upgrade lost the state"
newer=$(status)
if booted; then
    answers "upgraded, it does not run"
    [ "$(pid_of_agent)" != "$pid" ] || die "an upgrade did not restart the agent"
    [ "$(socket_since)" = "$since" ] || die "an upgrade restarted the socket"
fi
say "upgraded: $newer"

if dpkg --install /older.deb >/tmp/log 2>&1; then die "it went back"; fi
grep -q 'refusing to go back from' /tmp/log || { cat /tmp/log; die "it does not say why"; }
[ "$(status)" = "$newer" ] || die "a refusal left it $(status)"
if booted; then answers "it went back for nothing, and does not run"; fi
say "refused to go back"

dpkg --remove holdfast >/tmp/log 2>&1 || { cat /tmp/log; die "it cannot be removed"; }
[ ! -e /usr/bin/holdfast ] || die "removed, and still there"
if booted && systemctl is-active --quiet holdfast.service holdfast.socket; then die "removed, it runs"; fi
[ "$(cat "$state")" = me ] || die "a removal lost the state"
grep -qx '# mine' "$settings" || die "a removal lost the settings"
if dpkg --install /older.deb >/tmp/log 2>&1; then die "removed, it went back"; fi
say "removed"

dpkg --purge holdfast >/tmp/log 2>&1 || { cat /tmp/log; die "it cannot be purged"; }
for dir in /etc/holdfast /var/lib/holdfast /run/holdfast; do
    [ ! -e "$dir" ] || die "a purge left $dir"
done
files >/tmp/after
diff /tmp/before /tmp/after || die "a purge left this"
say "purged"
