# Networks from files: NAME.conf with ssid=, password= and so on becomes a network of wpa_supplicant's configuration.
# Sourced by the wifi service. A file is read as data; one that is not understood is left out, with the reason.
# shellcheck shell=sh

# Sets REPLY, without blanks (and Windows' line end) around it.
trimmed() {
	REPLY=${1#"${1%%[![:space:]]*}"}
	REPLY=${REPLY%"${REPLY##*[![:space:]]}"}
}

# What is wrong with a file, and the remedy. Always false.
wrong() {
	WRONG=$1 FIX=$2
	return 1
}

# Windows' editor begins a file with this mark.
MARK=$(printf '\357\273\277')

# Reads a file. Sets SSID, PASSWORD, PSK, SECURITY, HIDDEN, PRIORITY and CODE (the country); false with WRONG and FIX set.
read_wifi() {
	SSID='' PASSWORD='' PSK='' SECURITY='' HIDDEN=0 PRIORITY=0 CODE='' WRONG='' FIX='' number=0
	while IFS= read -r line || [ -n "$line" ]; do
		number=$((number + 1))
		trimmed "${line#"$MARK"}"
		case $REPLY in
		'' | '#'*) continue ;;
		'network={'* | '['*)
			wrong "line $number: the format of another program" "write ssid=NAME and password=WORD, each on its line"
			return
			;;
		*=*) ;;
		*)
			wrong "line $number: no KEY=VALUE" "write ssid=NAME and password=WORD, each on its line"
			return
			;;
		esac
		line=$REPLY
		trimmed "${line%%=*}"
		key=$REPLY
		trimmed "${line#*=}"
		# Quotes keep blanks at the ends.
		case $REPLY in
		\"*\") [ "$REPLY" = '"' ] || REPLY=${REPLY#\"} REPLY=${REPLY%\"} ;;
		esac
		take_key "$key" "$REPLY" || return 1
	done <"$1"
	check_wifi
}

take_key() { # KEY VALUE
	case $2 in
	*[[:cntrl:]]*)
		wrong "$1: a control character" "write it anew"
		return
		;;
	esac
	case $1 in
	ssid | SSID) SSID=$2 ;;
	password | PASSWORD) PASSWORD=$2 ;;
	psk | PSK) PSK=$2 ;;
	security | SECURITY)
		case $2 in
		wpa2 | wpa3 | open) SECURITY=$2 ;;
		*) wrong "security: $2 is not known" "security=wpa2, wpa3 or open; without it both WPA2 and WPA3" ;;
		esac
		;;
	hidden | HIDDEN)
		case $2 in
		yes) HIDDEN=1 ;;
		no) HIDDEN=0 ;;
		*) wrong "hidden: $2" "hidden=yes or hidden=no" ;;
		esac
		;;
	priority | PRIORITY)
		case $2 in
		'' | *[!0-9]* | ????*) wrong "priority: $2 is no number of 0 to 999" "priority=10; the highest is tried first" ;;
		*) PRIORITY=$2 ;;
		esac
		;;
	country | COUNTRY)
		case $2 in
		[A-Z][A-Z]) CODE=$2 ;;
		*) wrong "country: $2" "two capital letters, as country=DE" ;;
		esac
		;;
	*) wrong "$1: no such key" "the keys are ssid, password, psk, security, hidden, priority, country" ;;
	esac
}

# Whether what was read makes a network. A file with a country alone is fine.
check_wifi() {
	[ -n "$SSID$PASSWORD$PSK$SECURITY" ] || [ -z "$CODE" ] || return 0
	[ -n "$SSID" ] || {
		wrong "ssid: missing" "add ssid=NAME, the network's name"
		return
	}
	[ ${#SSID} -le 32 ] || {
		wrong "ssid: longer than 32 characters" "write the network's name as it is"
		return
	}
	case $SECURITY in
	open)
		[ -z "$PASSWORD$PSK" ] || wrong "password: there is none in an open network" "take out password= or security=open"
		return
		;;
	wpa3)
		[ -n "$PASSWORD" ] || wrong "password: missing (WPA3 cannot use psk=)" "add password=WORD"
		return
		;;
	esac
	if [ -n "$PASSWORD" ] && is_psk "$PASSWORD"; then
		PSK=$PASSWORD PASSWORD=
	fi
	if [ -n "$PASSWORD" ]; then
		if [ ${#PASSWORD} -lt 8 ] || [ ${#PASSWORD} -gt 63 ]; then
			wrong "password: ${#PASSWORD} characters" "WPA2 has 8 to 63; shorter ones need security=wpa3"
		fi
	elif [ -n "$PSK" ]; then
		is_psk "$PSK" || wrong "psk: not 64 hexadecimal digits" "write password=WORD instead"
	else
		wrong "password: missing" "add password=WORD, or security=open if there is none"
	fi
}

# A key that was computed from name and password.
is_psk() {
	case $1 in
	*[!0-9A-Fa-f]*) return 1 ;;
	esac
	[ ${#1} = 64 ]
}

# Adds the network just read to BLOCKS. Its id_str is what messages of wpa_supplicant call it.
add_block() {
	BLOCKS="${BLOCKS}network={
	ssid=\"$SSID\"
	scan_ssid=$HIDDEN
	priority=$PRIORITY
"
	case $SECURITY in
	open) BLOCKS="$BLOCKS	key_mgmt=NONE$NL" ;;
	wpa3) BLOCKS="$BLOCKS	key_mgmt=SAE$NL	ieee80211w=2$NL	sae_password=\"$PASSWORD\"$NL" ;;
	*)
		if [ -n "$PSK" ]; then
			BLOCKS="$BLOCKS	key_mgmt=WPA-PSK WPA-PSK-SHA256$NL	psk=$PSK$NL"
		elif [ "$SECURITY" = wpa2 ]; then
			BLOCKS="$BLOCKS	key_mgmt=WPA-PSK$NL	psk=\"$PASSWORD\"$NL"
		else
			BLOCKS="$BLOCKS	key_mgmt=WPA-PSK WPA-PSK-SHA256 SAE$NL	psk=\"$PASSWORD\"$NL"
		fi
		[ "$SECURITY" = wpa2 ] || BLOCKS="$BLOCKS	ieee80211w=1$NL"
		;;
	esac
	BLOCKS="$BLOCKS}$NL"
	NAMES=$NAMES$SSID$NL
}

# All files: persist's, and those of the image that persist does not replace by one of the same name.
# Sets CONF (wpa_supplicant's configuration), NAMES (a network a line, in its order), and BAD with BAD_FIX.
gather_wifi() {
	BLOCKS='' NAMES='' COUNTRY='' BAD='' BAD_FIX=''
	for file in "$SEEN"/wifi/* "$ETC"/skiff/wifi/*; do
		[ -f "$file" ] || continue
		case $file in
		"$ETC"/*) [ ! -e "$SEEN/wifi/${file##*/}" ] || continue ;;
		esac
		case ${file##*/} in
		*.conf) ;;
		README*) continue ;;
		*)
			add_bad "${file##*/}: its name does not end in .conf" "mv ${file##*/} NAME.conf"
			continue
			;;
		esac
		if read_wifi "$file"; then
			COUNTRY=${COUNTRY:-$CODE}
			[ -z "$SSID" ] || add_block
		else
			add_bad "${file##*/}, $WRONG" "$FIX"
		fi
	done
	# shellcheck disable=SC2034  # for the service
	CONF="ctrl_interface=/run/wpa_supplicant
sae_pwe=2
p2p_disabled=1
${COUNTRY:+country=$COUNTRY$NL}$BLOCKS"
}

add_bad() { # TEXT FIX
	BAD="$BAD${BAD:+; }$1" BAD_FIX=${BAD_FIX:-$2}
}

# The network's name by its number in the configuration. Sets REPLY.
name_of() {
	rest=$NAMES number=$1
	while [ "$number" -gt 0 ] && [ -n "$rest" ]; do
		rest=${rest#*"$NL"} number=$((number - 1))
	done
	REPLY=${rest%%"$NL"*}
}
