-- Wireshark dissector for weft's sealed datagrams: their header, and with a key log what they carry.
--
--   tshark -X lua_script:weft.lua -o weft.keys:/path/to/keys -r capture.pcap
--
-- The format is that of vtep/src/wire/sealed.rs, the key log's that of vtep/src/seal/key_log.rs. The tag is shown and not
-- checked: what was forged or damaged opens as nonsense here, and not at all in weft. Where the capture holds
-- super-frames of the sending host (UDP segmentation offload), only the first datagram of each can be told.

local weft = Proto("weft", "weft sealed datagram")
local ports, port = DissectorTable.get("udp.port"), nil
-- VXLAN's dissector has no name in older versions: it is found under its port, before this one takes the port over.
local vxlan = ports:get_dissector(4789)
local kinds = { [0x80] = "frame", [0x81] = "control" }
local suites = { [1] = "AES-256-GCM", [2] = "ChaCha20-Poly1305" }
local echoes = { [1] = "request", [2] = "reply" }

local f = {
	kind = ProtoField.uint8("weft.type", "Type", base.HEX, kinds),
	version = ProtoField.uint8("weft.version", "Version"),
	lane = ProtoField.uint16("weft.lane", "Lane"),
	index = ProtoField.uint32("weft.index", "Receiver index", base.HEX),
	counter = ProtoField.uint64("weft.counter", "Counter"),
	sealed = ProtoField.bytes("weft.sealed", "Sealed"),
	tag = ProtoField.bytes("weft.tag", "Tag (not checked)"),
	suite = ProtoField.uint8("weft.suite", "Suite", base.DEC, suites),
	echo = ProtoField.uint8("weft.echo", "Echo", base.DEC, echoes),
	id = ProtoField.uint32("weft.echo.id", "Id"),
	time = ProtoField.uint64("weft.echo.time", "Time (ns)"),
}
weft.fields = f
weft.prefs.keys = Pref.string("Key log", "", "The file with the keys of sessions")
weft.prefs.port = Pref.uint("UDP port", 4789, "The port of VXLAN and of sealed datagrams")

-- 32-bit words as numbers from 0 to 2^32 - 1, whatever the bit library makes of them.
local function word(n) return n % 4294967296 end
local function xor(a, b) return word(bit.bxor(a, b)) end
local function rotate(n, by) return word(bit.rol(n, by)) end
local function little(bytes, at)
	local n = 0
	for i = 3, 0, -1 do n = n * 256 + bytes:get_index(at + i) end
	return n
end

-- ChaCha20 (RFC 8439 section 2.3): the key stream of one block of 64 bytes, as 16 little-endian words.
local function chacha_block(key, nonce, counter)
	local first = { 0x61707865, 0x3320646e, 0x79622d32, 0x6b206574 }
	for i = 0, 7 do first[5 + i] = little(key, i * 4) end
	first[13] = counter
	for i = 0, 2 do first[14 + i] = little(nonce, i * 4) end
	local s = {}
	for i = 1, 16 do s[i] = first[i] end
	local function quarter(a, b, c, d)
		s[a] = word(s[a] + s[b]); s[d] = rotate(xor(s[d], s[a]), 16)
		s[c] = word(s[c] + s[d]); s[b] = rotate(xor(s[b], s[c]), 12)
		s[a] = word(s[a] + s[b]); s[d] = rotate(xor(s[d], s[a]), 8)
		s[c] = word(s[c] + s[d]); s[b] = rotate(xor(s[b], s[c]), 7)
	end
	for _ = 1, 10 do
		quarter(1, 5, 9, 13); quarter(2, 6, 10, 14); quarter(3, 7, 11, 15); quarter(4, 8, 12, 16)
		quarter(1, 6, 11, 16); quarter(2, 7, 12, 13); quarter(3, 8, 9, 14); quarter(4, 5, 10, 15)
	end
	local out = {}
	for i = 1, 16 do
		local sum = word(s[i] + first[i])
		for _ = 1, 4 do
			out[#out + 1] = sum % 256
			sum = math.floor(sum / 256)
		end
	end
	return out
end

-- AES (FIPS 197), encryption with a key of 256 bits: all that counter mode needs.
local sbox = {}
local function double(n)
	n = n * 2
	return n > 255 and bit.bxor(n - 256, 0x1b) or n
end
do
	local p, q = 1, 1
	repeat
		p = bit.bxor(p, double(p))
		for _, by in ipairs({ 1, 2, 4 }) do q = bit.band(bit.bxor(q, bit.lshift(q, by)), 0xff) end
		if q > 127 then q = bit.bxor(q, 0x09) end
		local x = q
		for by = 1, 4 do x = bit.bxor(x, bit.band(bit.bor(bit.lshift(q, by), bit.rshift(q, 8 - by)), 0xff)) end
		sbox[p] = bit.bxor(x, 0x63)
	until p == 1
	sbox[0] = 0x63
end

local function aes_schedule(key)
	local w, round = {}, 1
	for i = 0, 31 do w[i] = key:get_index(i) end
	for i = 32, 239, 4 do
		local t = { w[i - 4], w[i - 3], w[i - 2], w[i - 1] }
		if i % 32 == 0 then
			t = { bit.bxor(sbox[t[2]], round), sbox[t[3]], sbox[t[4]], sbox[t[1]] }
			round = double(round)
		elseif i % 32 == 16 then
			t = { sbox[t[1]], sbox[t[2]], sbox[t[3]], sbox[t[4]] }
		end
		for k = 0, 3 do w[i + k] = bit.bxor(w[i + k - 32], t[k + 1]) end
	end
	return w
end

local function aes_block(w, input)
	local s = {}
	for i = 0, 15 do s[i] = bit.bxor(input[i], w[i]) end
	for round = 1, 14 do
		local t = {}
		for i = 0, 15 do t[i] = sbox[s[(i + 4 * (i % 4)) % 16]] end
		if round < 14 then
			for c = 0, 12, 4 do
				local all = bit.bxor(t[c], t[c + 1], t[c + 2], t[c + 3])
				for k = 0, 3 do
					local pair = bit.bxor(t[c + k], t[c + (k + 1) % 4])
					s[c + k] = bit.bxor(t[c + k], all, double(pair))
				end
			end
		else
			s = t
		end
		for i = 0, 15 do s[i] = bit.bxor(s[i], w[16 * round + i]) end
	end
	local out = {}
	for i = 0, 15 do out[i + 1] = s[i] end
	return out
end

-- The key streams, block by block. GCM's first counter is 1 and is the tag's (NIST SP 800-38D section 7.1); block 0 of
-- ChaCha20-Poly1305 is the tag's too.
local function stream(key, nonce)
	if key.suite == 2 then return function(n) return chacha_block(key.bytes, nonce, n + 1) end end
	key.schedule = key.schedule or aes_schedule(key.bytes)
	return function(n)
		local input = {}
		for i = 0, 11 do input[i] = nonce:get_index(i) end
		local counter = n + 2
		for i = 15, 12, -1 do
			input[i] = counter % 256
			counter = math.floor(counter / 256)
		end
		return aes_block(key.schedule, input)
	end
end

local function open(key, nonce, sealed)
	local block_of, block, size = stream(key, nonce), nil, key.suite == 2 and 64 or 16
	local text = ByteArray.new()
	text:set_size(sealed:len())
	for i = 0, sealed:len() - 1 do
		if i % size == 0 then block = block_of(i / size) end
		text:set_index(i, bit.bxor(sealed:get_index(i), block[i % size + 1]))
	end
	return text
end

local keys, keys_from = {}, ""
local function load_keys()
	if weft.prefs.keys == keys_from then return end
	keys, keys_from = {}, weft.prefs.keys
	local file = io.open(keys_from)
	if not file then return end
	for line in file:lines() do
		local index, lane, suite, bytes = line:match("^WEFT (%x+) (%x+) (%x+) (%x+)$")
		if bytes and #bytes == 64 then
			keys[index .. lane] = { suite = tonumber(suite, 16), bytes = ByteArray.new(bytes) }
		end
	end
	file:close()
end

local function is_sealed(tvb)
	return tvb:len() >= 32 and kinds[tvb(0, 1):uint()] and tvb(1, 1):uint() == 1
end

function weft.dissector(tvb, pinfo, tree)
	-- A plain VTEP's datagram on the same port.
	if not is_sealed(tvb) then return vxlan:call(tvb, pinfo, tree) end
	load_keys()
	pinfo.cols.protocol = "weft"
	local lane, index, length = tvb(2, 2), tvb(4, 4), tvb:len() - 32
	pinfo.cols.info = string.format("sealed %s, session %08x, lane %d", kinds[tvb(0, 1):uint()], index:uint(), lane:uint())
	local node = tree:add(weft, tvb(0, 16))
	node:add(f.kind, tvb(0, 1))
	node:add(f.version, tvb(1, 1))
	node:add(f.lane, lane)
	node:add(f.index, index)
	node:add(f.counter, tvb(8, 8))
	if length > 0 then node:add(f.sealed, tvb(16, length)) end
	node:add(f.tag, tvb(16 + length, 16))
	local key = keys[string.format("%08x%04x", index:uint(), lane:uint())]
	if not key or length == 0 then return tvb:len() end
	node:add(f.suite, key.suite):set_generated()
	local nonce = lane:bytes() .. ByteArray.new("0000") .. tvb(8, 8):bytes()
	local text = open(key, nonce, tvb(16, length):bytes()):tvb("Opened")
	if tvb(0, 1):uint() == 0x80 then
		vxlan:call(text, pinfo, tree)
	elseif length >= 16 then
		node:add(f.echo, text(0, 1))
		node:add(f.id, text(4, 4))
		node:add(f.time, text(8, 8))
	end
	return tvb:len()
end

local function register()
	if port == weft.prefs.port then return end
	if port then ports:remove(port, weft) end
	port = weft.prefs.port
	ports:add(port, weft)
end
weft.prefs_changed = register
register()
