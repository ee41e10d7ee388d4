# What wpa_supplicant's messages and the kernel's figures mean, as one line of skiff-status. Sourced by the wifi service.
# shellcheck shell=sh
# shellcheck disable=SC2154  # IFACE, NAMES and HARD_OFF come from the service and from wifi-files.sh

# Seconds that a network may take before its absence is told, and between two looks at what is seen.
PATIENCE=15
# Seconds after which a refusal is no news any more: wpa_supplicant tries again after 300 at most.
STALE=400
# Seconds between two questions for the signal, for which a program is started.
SIGNAL_EVERY=30

# What is known of the card's state: at its start nothing.
forget() {
	NETWORK='' TRYING='' REJECTED='' REFUSED='' REFUSED_FIX='' LOOKED='' TWICE='' SIGNAL_AT=''
	seconds_up
	SINCE=$REPLY
}

# One message. False when it is news, so that skiff-status tells it at once.
event() {
	case $1 in
	*': CTRL-EVENT-CONNECTED '*'[id='*)
		number=${1##*\[id=}
		name_of "${number%% *}"
		NETWORK=$REPLY REJECTED='' REFUSED='' ENDED=0 SIGNAL_AT=''
		joined_another
		;;
	*': CTRL-EVENT-DISCONNECTED '*)
		NETWORK='' TWICE=''
		seconds_up
		SINCE=$REPLY
		;;
	*': SME: Trying to authenticate with '*"SSID='"* | *': Trying to associate with '*"SSID='"*)
		TRYING=${1#*SSID=\'}
		TRYING=${TRYING%\' freq=*}
		return 0
		;;
	*': CTRL-EVENT-SSID-TEMP-DISABLED id='*' reason=WRONG_KEY'*)
		number=${1#* id=}
		name_of "${number%% *}"
		wrong_password "$REPLY"
		;;
	# SAE (3), second message: the access point refuses the proof that we know the password. The status is 1 or 15.
	*': CTRL-EVENT-AUTH-REJECT '*' auth_type=3 auth_transaction=2 '*) wrong_password "$TRYING" ;;
	*': CTRL-EVENT-ASSOC-REJECT '*' status_code='*)
		number=${1##* status_code=}
		# One that is being switched off refuses once.
		[ -z "$REJECTED" ] || refuse "$TRYING does not let us join (status ${number%% *})" "does security= fit? wpa_cli scan_results"
		REJECTED=yes
		;;
	*': rfkill: WLAN '*blocked*) return 1 ;;
	*) return 0 ;;
	esac
	say_event "$1"
	return 1
}

say_event() { logger -t wifi "${1#*: }" 2>/dev/null || :; }

wrong_password() {
	refuse "wrong password for $1" "correct password= in its file in skiff/wifi/; changes are taken over at once"
}

refuse() { # TEXT HINT
	REFUSED=$1 REFUSED_FIX=$2
	seconds_up
	REFUSED_AT=$REPLY
}

# Another network than last time has other addresses: the network service asks anew, if it still has the old ones.
joined_another() {
	line_of "$WIFI/last" || :
	[ "$REPLY" = "$NETWORK" ] || [ ! -e "$RUN/net/$IFACE.mode" ] || : >"$RUN/net/$IFACE.again"
	printf '%s\n' "$NETWORK" >"$WIFI/last"
}

# Sets SIGNAL in dBm, empty when it is not known. Not from /proc/net/wireless, which small kernels do without.
look_at_signal() {
	[ -z "$SIGNAL_AT" ] || [ $((now - SIGNAL_AT)) -ge $SIGNAL_EVERY ] || return 0
	SIGNAL_AT=$now SIGNAL=''
	REPLY=$(wpa_cli -i "$IFACE" signal_poll 2>/dev/null)
	case $REPLY in
	RSSI=-*)
		REPLY=${REPLY#RSSI=}
		SIGNAL="${REPLY%%"$NL"*} dBm, "
		;;
	esac
}

# Names that the card sees: sets SEEN_NAMES, a line each, with what they offer behind a tab.
look_around() {
	# Anybody may send a name. One with control characters is none of ours, and would reach the terminal of whoever looks.
	REPLY=$(wpa_cli -i "$IFACE" scan_results 2>/dev/null |
		awk -F'\t' 'NF > 4 && $5 !~ /\\([enrt]|x[01]|x7f|xc2\\x[89])/ { print $5 "\t" $4 }')
	# Letters beyond ASCII come as \xc3\xa4.
	SEEN_NAMES=$NL$(printf %b "$REPLY")$NL
}

# Which networks are in reach, though none is joined. Sets MISSING, and SEEN_ONE with what it offers.
compare_names() {
	MISSING='' SEEN_ONE='' OFFERS=''
	rest=$NAMES
	while [ -n "$rest" ]; do
		one=${rest%%"$NL"*}
		rest=${rest#*"$NL"}
		case $SEEN_NAMES in
		*"$NL$one$TAB"*)
			SEEN_ONE=$one
			OFFERS=${SEEN_NAMES#*"$NL$one$TAB"}
			OFFERS=${OFFERS%%"$NL"*}
			;;
		*) MISSING="$MISSING${MISSING:+, }$one" ;;
		esac
	done
}

# Reports the line, if it is another than before.
line_is() { # STATE TEXT [HINT]
	[ "$*" != "${SAID-}" ] || return 0
	SAID=$*
	report wifi "$@"
}

tell() {
	seconds_up
	now=$REPLY
	if [ -z "$NAMES" ] && [ -n "${BAD-}" ]; then
		line_is fail "no usable file in skiff/wifi/" "see wifi-files"
	elif [ -z "$NAMES" ]; then
		line_is ok "${IFACE:-no wireless device}, no network named in skiff/wifi/"
	elif [ -z "$IFACE" ] && [ $((now - SINCE)) -lt $PATIENCE ]; then
		line_is wait "looking for a wireless device"
	elif [ -z "$IFACE" ]; then
		line_is fail "no wireless device" "is it plugged in? is its driver's layer in the image (net/wifi-…)? dmesg"
	elif [ -n "$HARD_OFF" ]; then
		line_is fail "$IFACE is switched off by a switch on the machine" "switch it on"
	elif [ -n "$NETWORK" ]; then
		tell_joined
	elif [ "$ENDED" -gt 2 ]; then
		line_is fail "wpa_supplicant ends at once" "wpa_supplicant -D nl80211 -i $IFACE -c $WIFI/conf"
	elif [ -n "$REFUSED" ] && [ $((now - REFUSED_AT)) -lt $STALE ]; then
		line_is fail "$REFUSED" "$REFUSED_FIX"
	else
		tell_missing
	fi
}

tell_joined() {
	look_at_signal
	reported "net.$IFACE"
	line_is "${STATE:-wait}" "$NETWORK, $SIGNAL${TEXT:-no address yet}" "$HINT"
}

tell_missing() {
	if [ $((now - SINCE)) -lt $PATIENCE ]; then
		line_is wait "looking for ${NAMES%%"$NL"*}"
		return
	fi
	[ -z "$LOOKED" ] || [ $((now - LOOKED)) -ge $PATIENCE ] || return 0
	LOOKED=$now
	look_around
	compare_names
	if [ -n "$SEEN_ONE" ] && [ "$TWICE" != "$SEEN_ONE" ]; then
		# One that has just gone is remembered for a while.
		TWICE=$SEEN_ONE
		line_is wait "looking for $SEEN_ONE"
	elif [ -n "$SEEN_ONE" ]; then
		line_is fail "$SEEN_ONE is seen, but cannot be joined; it offers $OFFERS" "does security= fit?"
	else
		case $MISSING in
		*', '*) text="networks $MISSING not seen" ;;
		*) text="network $MISSING not seen" ;;
		esac
		line_is fail "$text" "in reach and switched on? hidden=yes if it hides its name; wpa_cli scan_results"
	fi
}
