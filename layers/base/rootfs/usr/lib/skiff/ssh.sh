# The device's own SSH keys: made once, kept on persist, in RAM when persist is away. Sourced by the ssh service and persist.
# shellcheck shell=sh

HOST_KEYS=$RUN/ssh
HOST_KEY=$HOST_KEYS/dropbear_ed25519_host_key

# A key made here; what persist had was copied to RAM before SSH started. The server itself finds out whether that one
# can be read: only one that starts again has it looked at.
host_key() {
	if [ -s "$HOST_KEY" ]; then
		! dropbearkey -y -f "$HOST_KEY" || return 0
	elif [ -s "$SEEN/ssh/dropbear_ed25519_host_key" ] && cp "$SEEN/ssh/dropbear_ed25519_host_key" "$HOST_KEY"; then
		return 0
	fi
	rm -f "$HOST_KEY"
	dropbearkey -t ed25519 -f "$HOST_KEY"
} >/dev/null 2>&1

# Builtins only: this is on the way to SSH.
ssh_is_kept() {
	# Memory that runs out never takes the supervisor, and the server last: log-ins inherit its score.
	echo -1000 >"$PROC/$PPID/oom_score_adj"
	echo -250 >"$PROC/self/oom_score_adj"
}
