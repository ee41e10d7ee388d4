# Addresses: DHCP with a link-local fallback on every interface, or the static ones that persist names. Wireless cards
# get theirs in the same way once they have joined a network (layer net/wifi).
# Sourced by boot (first start) and by the network service (plugging in, carrier, new settings).
# shellcheck shell=sh

NET=$RUN/net

# Wired interfaces that are hardware: no bridges, containers' ends, wireless cards. Sets IFACES.
wired() {
	IFACES=
	for path in "$SYS"/class/net/*; do
		[ -e "$path/device" ] || continue
		[ ! -e "$path/phy80211" ] || continue
		type=
		read -r type 2>/dev/null <"$path/type" || :
		[ "$type" = 1 ] || continue
		IFACES="$IFACES ${path##*/}"
	done
}

# Adds wireless cards that have joined a network to IFACES. Until then there is nobody to ask for an address.
joined() {
	for path in "$SYS"/class/net/*; do
		if [ -e "$path/phy80211" ] && [ -e "$path/device" ] && line_of "$path/operstate" && [ "$REPLY" = up ]; then
			IFACES="$IFACES ${path##*/}"
		fi
	done
}

# One that is on already costs no program.
link_up() { # INTERFACE
	line_of "$SYS/class/net/$1/flags" || REPLY=0
	[ $((REPLY & 1)) = 1 ] || ip link set "$1" up
}

network_links_up() {
	wired
	for iface in lo $IFACES; do
		link_up "$iface"
	done
}

# a.b.c.d with numbers below 256.
is_ipv4() {
	case $1 in
	*[!0-9.]* | *.*.*.*.* | .* | *. | *..*) return 1 ;;
	*.*.*.*) ;;
	*) return 1 ;;
	esac
	rest=$1.
	while [ -n "$rest" ]; do
		case ${rest%%.*} in
		????*) return 1 ;;
		esac
		[ "${rest%%.*}" -le 255 ] || return 1
		rest=${rest#*.}
	done
}

is_ipv6() {
	case $1 in
	*[!0-9A-Fa-f:.]* | *:::*) return 1 ;;
	*:*:*) return 0 ;;
	esac
	return 1
}

is_ip() { is_ipv4 "$1" || is_ipv6 "$1"; }

# ADDRESS/PREFIX
is_cidr() {
	prefix=${1##*/}
	case $1/$prefix in
	*/*/*) ;;
	*) return 1 ;;
	esac
	case $prefix in
	'' | *[!0-9]* | ????*) return 1 ;;
	esac
	is_ipv4 "${1%/*}" && [ "$prefix" -le 32 ] && return 0
	is_ipv6 "${1%/*}" && [ "$prefix" -le 128 ]
}

# The settings file of an interface: by name (eth0.conf) or by hardware address (52-54-00-12-34-56.conf). Sets REPLY.
settings_of() {
	REPLY=$SEEN/network/$1.conf
	[ ! -f "$REPLY" ] || return 0
	line_of "$SYS/class/net/$1/address" || return 1
	mac=$REPLY
	for file in "$SEEN"/network/*.conf; do
		[ -f "$file" ] || continue
		name=${file##*/}
		name=${name%.conf}
		case $name in
		# Twelve hexadecimal digits in pairs, with : or - between.
		??[:-]??[:-]??[:-]??[:-]??[:-]??) ;;
		*) continue ;;
		esac
		same_mac "$name" "$mac" || continue
		REPLY=$file
		return 0
	done
	return 1
}

# Compares pair by pair, as numbers: capitals and the kind of separator do not matter.
same_mac() {
	left=$1- right=$2-
	while [ -n "$left" ]; do
		one=${left%%[:-]*} two=${right%%[:-]*}
		case $one$two in
		*[!0-9A-Fa-f]* | '') return 1 ;;
		esac
		[ $((0x$one)) = $((0x$two)) ] || return 1
		left=${left#*[:-]} right=${right#*[:-]}
	done
}

# Reads a settings file: KEY=value lines, never run as shell. Sets ADDRESSES, GATEWAYS, SERVERS; false with WRONG set.
read_settings() {
	ADDRESSES='' GATEWAYS='' SERVERS='' WRONG='' number=0
	while IFS= read -r line || [ -n "$line" ]; do
		number=$((number + 1))
		line=${line%[[:cntrl:]]}
		case $line in
		'' | '#'*) continue ;;
		esac
		key=${line%%=*} value=${line#*=}
		for word in $value; do
			case $key in
			ADDRESS) is_cidr "$word" && ADDRESSES="$ADDRESSES $word" && continue ;;
			GATEWAY) is_ip "$word" && GATEWAYS="$GATEWAYS $word" && continue ;;
			DNS) is_ip "$word" && SERVERS="$SERVERS $word" && continue ;;
			esac
			WRONG="line $number"
			return 1
		done
		case $key in
		ADDRESS | GATEWAY | DNS) ;;
		*)
			WRONG="line $number"
			return 1
			;;
		esac
	done <"$1"
	[ -n "$ADDRESSES" ] || {
		WRONG="no ADDRESS="
		return 1
	}
}

# Interfaces get the metric of their place, so that two default routes can live side by side; a cable goes before
# any wireless card. Sets METRIC.
metric_of() {
	line_of "$SYS/class/net/$1/ifindex" || REPLY=0
	METRIC=$((100 + REPLY))
	[ ! -e "$SYS/class/net/$1/phy80211" ] || METRIC=$((METRIC + 1000))
}

# The kernel gives the way to the neighbours no metric: with a cable into the same network, that must be the better one.
neighbours_last() {
	[ -e "$SYS/class/net/$1/phy80211" ] || return 0
	ip -4 route show dev "$1" | while read -r net rest; do
		case "$net $rest" in
		*/*' metric '* | default*) ;;
		*/*' src '*)
			source=${rest##*src }
			ip route del "$net" dev "$1" && ip route add "$net" dev "$1" src "${source%% *}" metric "$METRIC"
			;;
		esac
	done
}

# For the network service, which tells those who must know.
address_changed() { echo changed >"$NET/changed"; }

start_static() {
	for word in $ADDRESSES; do
		ip addr add "$word" dev "$1"
	done
	metric_of "$1"
	neighbours_last "$1"
	for word in $GATEWAYS; do
		ip route add default via "$word" dev "$1" metric "$METRIC"
	done
	: >"$NET/$1.dns"
	for word in $SERVERS; do
		echo "nameserver $word" >>"$NET/$1.dns"
	done
	write_resolv
	echo static >"$NET/$1.mode"
	address_changed
	report "net.$1" ok "${ADDRESSES# } (static)"
}

start_dhcp() {
	echo dhcp >"$NET/$1.mode"
	[ -z "${2-}" ] && report "net.$1" wait "asking for an address (DHCP)"
	line_of "$PROC/sys/kernel/hostname" || REPLY=skiff
	udhcpc -f -i "$1" -t 3 -T 2 -A 10 -x "hostname:$REPLY" -O ntpsrv -s "$LIB/dhcp" </dev/null >/dev/null 2>&1 &
	echo $! >"$NET/$1.pid"
}

# Static addresses when a valid file names them, DHCP otherwise.
interface_start() {
	link_up "$1"
	! line_of "$SYS/class/net/$1/ifindex" || echo "$REPLY" >"$NET/$1.index"
	if settings_of "$1"; then
		file=$REPLY
		# shellcheck disable=SC2086
		if read_settings "$file"; then
			start_static "$1"
			return
		fi
		start_dhcp "$1" quiet
		report "net.$1" warn "skiff/network/${file##*/}, $WRONG: not understood, DHCP is used instead" \
			"ADDRESS=192.168.1.10/24, GATEWAY=192.168.1.1, DNS=192.168.1.1, each on its line"
		echo "${file##*/}: $WRONG" >"$NET/$1.wrong"
		return
	fi
	start_dhcp "$1"
}

# Ends a DHCP client. It waits for its script first: one that is still at work would put the old address over what is
# set next.
stop_dhcp() { # PID
	kill "$1" 2>/dev/null || return 0
	# One that boot has started is no child of this shell.
	wait "$1" 2>/dev/null
	turns=0
	while kill -0 "$1" 2>/dev/null && [ $turns -lt 100 ]; do
		turns=$((turns + 1))
		pause 0.1
	done
}

interface_stop() {
	! line_of "$NET/$1.pid" || stop_dhcp "$REPLY"
	rm -f "$NET/$1.pid" "$NET/$1.mode" "$NET/$1.index" "$NET/$1.dns" "$NET/$1.wrong" "$STATUS/net.$1"
	if [ -e "$SYS/class/net/$1" ]; then
		ip addr flush dev "$1" 2>/dev/null
		# With its own addresses of IPv6 the kernel begins anew, and asks for routers.
		ipv6=$PROC/sys/net/ipv6/conf/$1/disable_ipv6
		if line_of "$ipv6" && [ "$REPLY" = 0 ]; then
			echo 1 >"$ipv6"
			echo 0 >"$ipv6"
		fi
	fi
	write_resolv
	address_changed
}

network_start() {
	wired
	for iface in $IFACES; do
		interface_start "$iface"
	done
	[ -n "$IFACES" ] || report network warn "no wired interface found (yet)"
}

# Name servers of all interfaces, each once, three at most (as many as the C library asks).
write_resolv() {
	servers=
	for file in "$NET"/*.dns; do
		[ -r "$file" ] || continue
		while IFS= read -r line; do
			case $NL$servers in
			*"$NL$line$NL"*) ;;
			*) servers=$servers$line$NL ;;
			esac
		done <"$file"
	done
	printf %s "$servers" >"$RUN/resolv.conf"
}
