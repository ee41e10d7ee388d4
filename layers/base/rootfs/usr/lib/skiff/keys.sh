# Who may log in and under which name the device goes: image first, then what persist adds.
# shellcheck shell=sh

# A line of authorized_keys: options or not, a known type, then base64 that starts as every key does.
is_key() {
	case " $1" in
	*' ssh-ed25519 AAAA'* | *' ssh-rsa AAAA'* | *' ecdsa-sha2-nistp'???' AAAA'* | *' sk-ssh-ed25519@openssh.com AAAA'* | \
		*' sk-ecdsa-sha2-nistp256@openssh.com AAAA'*) return 0 ;;
	esac
	return 1
}

# Adds the keys of files to GOOD, counts them in COUNT and names the files with bad lines in BAD.
gather_keys() {
	for file; do
		[ -f "$file" ] || continue
		while IFS= read -r key || [ -n "$key" ]; do
			# A line may end as on Windows.
			key=${key%[[:cntrl:]]}
			case $key in
			'' | '#'*) continue ;;
			esac
			if is_key "$key"; then
				case $NL$GOOD in
				*"$NL$key$NL"*) ;;
				*) GOOD=$GOOD$key$NL COUNT=$((COUNT + 1)) ;;
				esac
			else
				case $BAD in
				*" ${file##*/}"*) ;;
				*) BAD="$BAD ${file##*/}" ;;
				esac
			fi
		done <"$file"
	done
}

# Writes root's authorized_keys.
write_keys() {
	GOOD='' BAD='' COUNT=0
	gather_keys "$ETC"/skiff/authorized_keys/*.pub "$SEEN"/keys/*.pub
	umask 077
	[ -d "${KEYS%/*}" ] || mkdir -p "${KEYS%/*}"
	if [ -e "$KEYS" ]; then
		# Someone may be logging in: never a half-written file.
		printf %s "$GOOD" >"$KEYS.new" && mv "$KEYS.new" "$KEYS"
	else
		printf %s "$GOOD" >"$KEYS"
	fi
	wrote=$?
	umask 022
	if [ $wrote != 0 ]; then
		report keys fail "root's authorized_keys cannot be written" "is memory full? ls -ld /root/.ssh"
	elif [ "$COUNT" = 0 ]; then
		report keys fail "no key: nobody can log in" "put one into skiff/keys/NAME.pub on the persist partition"
	elif [ -n "$BAD" ]; then
		report keys warn "$COUNT; lines that are no key were left out:$BAD" "one public key a line, as in id_ed25519.pub"
	else
		report keys ok "$COUNT"
	fi
	# Others who go by root's keys; at boot they see to it themselves, after SSH.
	[ -e "$RUN/late" ] || return 0
	for hook in "$LIB"/on-keys/*; do
		[ ! -x "$hook" ] || "$hook" </dev/null >/dev/null 2>&1 &
	done
}

# A host name as DNS allows it, or nothing. Sets REPLY.
valid_hostname() {
	line_of "$1" || return 1
	case $REPLY in
	'' | *[!A-Za-z0-9-]* | -* | *- | ????????????????????????????????????????????????????????????????*) return 1 ;;
	esac
}

# Persist's name goes before the image's.
set_hostname() {
	if [ -e "$SEEN/hostname" ]; then
		if valid_hostname "$SEEN/hostname"; then
			printf '%s\n' "$REPLY" >"$ETC/hostname"
			printf '127.0.0.1 localhost\n::1 localhost\n127.0.1.1 %s\n' "$REPLY" >"$ETC/hosts"
			report hostname ok "$REPLY (persist)"
		else
			report hostname warn "skiff/hostname on persist is no host name: left out" "letters, digits and - only"
		fi
	fi
	valid_hostname "$ETC/hostname" || REPLY=skiff
	HOSTNAME=$REPLY
	{ printf %s "$HOSTNAME" >"$PROC/sys/kernel/hostname"; } 2>/dev/null || :
}

valid_machine_id() {
	line_of "$1" || return 1
	case $REPLY in
	*[!0-9a-f]*) return 1 ;;
	esac
	[ ${#REPLY} = 32 ]
}

# /etc/machine-id: persist's, or one made at random.
machine_id() {
	valid_machine_id "$ETC/machine-id" && return
	if ! valid_machine_id "$SEEN/machine-id"; then
		line_of "$PROC/sys/kernel/random/uuid" || return
		uuid=$REPLY
		REPLY=
		while [ -n "$uuid" ]; do
			REPLY=$REPLY${uuid%%-*}
			case $uuid in
			*-*) uuid=${uuid#*-} ;;
			*) uuid= ;;
			esac
		done
	fi
	printf '%s\n' "$REPLY" >"$ETC/machine-id"
}
