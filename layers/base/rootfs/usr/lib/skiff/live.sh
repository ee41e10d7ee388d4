# What persist changes while the device runs: host keys, machine id, keys, host name, network, Wi-Fi. Sourced by the
# persist service.
# shellcheck shell=sh

# shellcheck source=layers/base/rootfs/usr/lib/skiff/keys.sh
. "$LIB/keys.sh"
# shellcheck source=layers/base/rootfs/usr/lib/skiff/ssh.sh
. "$LIB/ssh.sh"

# Copies a small file so that it is either the old or the new one, also after a power cut, and the new one from here on.
keep() { # FROM TO
	cp "$1" "$2.new" && sync "$2.new" && mv "$2.new" "$2" && sync "${2%/*}"
}

# Of a key with a flipped bit the server knows nothing: it answers, and nobody gets in. So beside the key are its
# checksum and a copy. A key that is newer than its checksum was put there by somebody.
key_is_whole() { # KEY
	dropbearkey -y -f "$1" >/dev/null 2>&1 || return
	# shellcheck disable=SC3013  # ash has -nt
	[ -s "$kept.sha256" ] && [ ! "$1" -nt "$kept.sha256" ] || return 0
	# What two of the three say is so.
	sha256sum <"$1" | cmp -s - "$kept.sha256" || cmp -s "$kept" "$kept.copy"
}

keep_key() { # KEY
	(
		umask 077
		sha256sum <"$1" >"$RUN/key.sha256"
		# The checksum last: from here on the key is no newer, whatever the clock was when it came.
		keep "$1" "$kept" && keep "$1" "$kept.copy" && keep "$RUN/key.sha256" "$kept.sha256"
	) 2>/dev/null ||
		report hostkey warn "the host key could not be kept on persist" "is persist full?"
}

# With its other form, for OpenSSH: its age tells nothing once the clock was put back.
forget_key() {
	rm -f "$HOST_KEY" "$HOST_KEYS/ssh_host_ed25519_key"
}

# The host key of persist goes before one made in RAM; one made in RAM is kept when persist has none. An empty one is
# damaged; one that is not there may have been deleted to get a new one.
live_host_key() {
	kept=$PERSIST/skiff/ssh/${HOST_KEY##*/}
	# Who reads a FIFO waits for good.
	for path in "$kept.copy" "$kept.sha256"; do
		[ ! -p "$path" ] || rm -f "$path"
	done
	if [ -e "$kept" ] && [ ! -p "$kept" ] && ! key_is_whole "$kept"; then
		if [ -s "$kept.copy" ] && key_is_whole "$kept.copy"; then
			report hostkey warn "the host key on persist was damaged; its copy is in use"
			keep_key "$kept.copy"
		else
			report hostkey warn "the host key on persist was damaged; a new one is in use" "forget the old one: ssh-keygen -R"
			! cmp -s "$kept" "$HOST_KEY" || forget_key
			rm -f "$kept" "$kept.copy" "$kept.sha256" "$SEEN/ssh/${HOST_KEY##*/}"
			[ -s "$HOST_KEY" ] || ! host_key || sv restart /etc/service/ssh >/dev/null 2>&1
		fi
	fi
	if [ ! -s "$kept" ]; then
		[ ! -s "$HOST_KEY" ] || keep_key "$HOST_KEY"
		return
	fi
	# shellcheck disable=SC3013  # ash has -nt
	{ [ ! "$kept" -nt "$kept.sha256" ] && cmp -s "$kept" "$kept.copy" && sha256sum <"$kept" | cmp -s - "$kept.sha256"; } ||
		keep_key "$kept"
	! cmp -s "$kept" "$HOST_KEY" || return 0
	mkdir -p "$SEEN/ssh"
	cp "$kept" "$SEEN/ssh/" && forget_key && sv restart /etc/service/ssh >/dev/null 2>&1
}

# One id for the device's life; a random one was made at boot in case persist stays away.
live_machine_id() {
	kept=$PERSIST/skiff/machine-id
	if valid_machine_id "$kept"; then
		line_of "$ETC/machine-id" && cmp -s "$kept" "$ETC/machine-id" && return
		cp "$kept" "$ETC/machine-id"
	else
		machine_id
		keep "$ETC/machine-id" "$kept" 2>/dev/null || :
	fi
}

# Every line of the files in a folder, with the file's name, for comparing.
all_lines() {
	cd "$1" 2>/dev/null || return 0
	for file in *; do
		[ ! -f "$file" ] || grep -H '' "./$file" 2>/dev/null
	done
	cd /
}

# An overlay is laid at boot only: programs that run already would not notice what changes under them.
overlay_waits() {
	[ ! -e "$STATUS/overlay" ] || return 0
	for path in "$PERSIST"/skiff/overlay/* "$PERSIST"/skiff/overlay/.[!.]*; do
		[ -e "$path" ] || continue
		report overlay warn "files in skiff/overlay/ are laid over / at the next start" reboot
		return
	done
}

# Wi-Fi networks in an image that knows nothing of Wi-Fi.
wifi_unread() {
	[ ! -e "$ETC/service/wifi" ] || return 0
	for path in "$SEEN"/wifi/*.conf; do
		[ ! -e "$path" ] || report wifi warn "skiff/wifi/${path##*/}: this image has no Wi-Fi" "add the layer net/wifi to it"
	done
}

# How the files look that live_take reads. Sets NOW_SEEN.
live_look() {
	NOW_SEEN=$(cd "$PERSIST/skiff" && stat -c '%n %i %s %z' hostname keys keys/*.pub network network/*.conf wifi wifi/* \
		2>/dev/null)
}

# Copies what live_take reads to RAM, 1 MB of it at most. False (and WHY and HINT set) when that is too little, or the
# disk does not let it be read: what was said before goes on to count, for without keys and addresses nobody could get
# in and look.
live_copy() {
	rm -rf "$SEEN.new" "$RUN/unread"
	mkdir -p "$SEEN.new"
	cd "$PERSIST/skiff" || return
	set --
	for path in hostname ssh network keys wifi; do
		[ ! -e "$path" ] || set -- "$@" "$path"
	done
	# A folder that cannot be read has no files to the shell, either.
	[ $# = 0 ] || ls "$@" >/dev/null 2>&1 || : >"$RUN/unread"
	# What else lies there may be large, and keep out what counts.
	set --
	for path in hostname ssh/* network/*.conf keys/*.pub wifi/*; do
		if [ -f "$path" ] || [ -p "$path" ]; then set -- "$@" "$path"; fi
	done
	# There are passwords and the host key in it.
	(umask 077 && : >"$RUN/seen.tar")
	[ $# = 0 ] || { tar -cf - "$@" 2>/dev/null || : >"$RUN/unread"; } | head -c 1048576 >"$RUN/seen.tar"
	cd /
	# The kernel counts folders and inodes that it could not read: to the shell they only are not there.
	! persist_stopped "$PERSIST_DEV" || return 1
	if [ "$(stat -c %s "$RUN/seen.tar")" -ge 1048576 ]; then
		WHY="more than 1 MB in skiff/ssh, network, keys and wifi" HINT="take what is large out of these folders"
		return 1
	fi
	[ ! -e "$RUN/unread" ] || return 1
	[ $# = 0 ] || tar -xof "$RUN/seen.tar" -C "$SEEN.new" 2>/dev/null
}

# What was copied counts from here on.
live_replace() {
	[ ! -d "$SEEN.new/wifi" ] || chmod -R go= "$SEEN.new/wifi"
	before=$(all_lines "$SEEN/network") now=$(all_lines "$SEEN.new/network")
	line_of "$PROC/sys/kernel/hostname" || :
	name=$REPLY
	rm -rf "$SEEN.old"
	mv "$SEEN" "$SEEN.old"
	mv "$SEEN.new" "$SEEN"
	write_keys
	set_hostname
	[ "$HOSTNAME" = "$name" ] || sv restart /etc/service/mdns >/dev/null 2>&1
	[ "$before" = "$now" ] || : >"$RUN/net/settings"
	# The service of the layer net/wifi compares for itself.
	: >"$RUN/net/wifi"
	wifi_unread
}

# Takes over what is on persist now. What changes while it reads is seen by the next look.
LAST_SEEN=
live_take() {
	live_look
	LAST_SEEN=$NOW_SEEN
	WHY="persist cannot be read" HINT="dmesg; the disk may be dying: back it up"
	if live_copy; then
		rm -f "$STATUS/settings"
		live_replace
	else
		report settings warn "$WHY: what was said before goes on to count" "$HINT"
	fi
	rm -f "$RUN/seen.tar"
	live_machine_id
	# The last thing that a new device keeps: wait-persist looks for it.
	live_host_key
	overlay_waits
}

# Takes over again when somebody changed a file of those. Changes show in inode, size and ctime to the nanosecond:
# the shell's -nt compares whole seconds, so a change within the second of the last look would never be seen, nor
# would one after the clock was put back.
live_changes() {
	[ -d "$PERSIST/skiff" ] || return 0
	live_look
	[ "$NOW_SEEN" = "$LAST_SEEN" ] || live_take
}
