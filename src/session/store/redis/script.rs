//! The scripts of sessions: what Redis does with them in one step. Each may run twice with the same result.

use crate::redis::script::{Known, known};

/// user key; field, entry, milliseconds to live. How many fields there are.
pub(super) static LIST: Known = known!(
    r"
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return redis.call('HLEN', KEYS[1])
"
);

/// session key; value, its generation (8 bytes), milliseconds to live. One of a higher generation stays.
pub(super) static CREATE: Known = known!(
    r"
local old = redis.call('GET', KEYS[1])
if old and struct.unpack('>I8', old, 2) > struct.unpack('>I8', ARGV[2]) then
    return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
return 1
"
);

/// session key; generation, sealed, now (8 bytes), now, idle seconds, channel, message. Whether the record is in force
/// now: one is there, of a lower generation, or this very one is already.
pub(super) static REPLACE: Known = known!(
    r"
local old = redis.call('GET', KEYS[1])
if not old then
    return 0
end
if string.sub(old, 2, 9) == ARGV[1] and string.sub(old, 26) == ARGV[2] then
    return 1
end
if struct.unpack('>I8', old, 2) >= struct.unpack('>I8', ARGV[1]) then
    return 0
end
local finish = struct.unpack('>I8', old, 10)
local now = tonumber(ARGV[4])
local rest = math.min(tonumber(ARGV[5]), finish - now)
if rest <= 0 then
    redis.call('DEL', KEYS[1])
    return 0
end
local seen = string.sub(old, 18, 25)
if struct.unpack('>I8', seen) < now then
    seen = ARGV[3]
end
local new = string.sub(old, 1, 1) .. ARGV[1] .. string.sub(old, 10, 17) .. seen .. ARGV[2]
redis.call('SET', KEYS[1], new, 'PX', string.format('%.0f', rest * 1000))
redis.call('PUBLISH', ARGV[6], ARGV[7])
return 1
"
);

/// session key; channel, message.
pub(super) static REMOVE: Known = known!(
    r"
redis.call('DEL', KEYS[1])
redis.call('PUBLISH', ARGV[1], ARGV[2])
return 1
"
);

/// session key; now (8 bytes), now, idle seconds. The generation that is there (8 bytes); nothing where none is.
pub(super) static TOUCH: Known = known!(
    r"
local head = redis.call('GETRANGE', KEYS[1], 0, 24)
if string.len(head) < 25 then
    return false
end
local now = tonumber(ARGV[2])
if struct.unpack('>I8', head, 18) < now then
    redis.call('SETRANGE', KEYS[1], 17, ARGV[1])
    local rest = math.min(tonumber(ARGV[3]), struct.unpack('>I8', head, 10) - now)
    redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.max(rest, 0) * 1000))
end
return string.sub(head, 2, 9)
"
);

/// lease key; holder, milliseconds. Whether the holder has it.
pub(super) static LEASE: Known = known!(
    r"
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
    return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"
);

/// lease key; holder.
pub(super) static RELEASE: Known = known!(
    r"
if redis.call('GET', KEYS[1]) == ARGV[1] then
    redis.call('DEL', KEYS[1])
end
return 1
"
);

/// secrets' key; what this replica seals with, milliseconds that it counts. What replicas sealed with lately, a few of them.
pub(super) static SECRETS: Known = known!(
    r"
local whole = function(number) return string.format('%.0f', number) end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', whole(now - tonumber(ARGV[2])))
redis.call('ZADD', KEYS[1], whole(now), ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return redis.call('ZRANGE', KEYS[1], 0, 15)
"
);

/// revocations' key; milliseconds that the key is kept, then revocations that were there once. Each that is not gets a number
/// of its own, above all before. There is room: no more are known than there may be.
pub(super) static REVOKE_AGAIN: Known = known!(
    r"
local whole = function(number) return string.format('%.0f', number) end
local time = redis.call('TIME')
local number = time[1] * 1000 + math.floor(time[2] / 1000)
local newest = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if newest[2] then
    number = math.max(number, tonumber(newest[2]) + 1)
end
for index = 2, #ARGV do
    number = number + redis.call('ZADD', KEYS[1], 'NX', whole(number), ARGV[index])
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
"
);

/// revocations' key; revocation, milliseconds that it counts, milliseconds that the key is kept, channel, message, how many
/// there may be, how many of the oldest are let go of at once, what a revocation in the place of too many begins with (there is no
/// room where that is empty), what one in the place of those that count no more begins with (nothing takes it where that is
/// empty). 1; 2 where it made room; 0 where there is none.
///
/// Each has a number of its own, above all before: readers go on where they were. It is the server's clock, so that
/// those of the replicas need not agree, and goes on where a failover finds a clock that is behind. The oldest go with
/// every session (or access token) of before, as far back as their replicas' clocks and this one say. So it is, too, where they count
/// no more for this replica: by another `lifetime`, before or later, one of those sessions may last longer. They are let go of many
/// at a time, so that few are put in their place: some time after they count no more, or as soon as they take the room of others.
pub(super) static REVOKE: Known = known!(
    r"
local whole = function(number) return string.format('%.0f', number) end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local newest = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')
local number = math.max(now, newest[2] and tonumber(newest[2]) + 1 or 0)
local drop = function(count, kind)
    local last = 0
    for _, old in ipairs(redis.call('ZRANGE', KEYS[1], 0, count - 1)) do
        if string.len(old) == 25 then
            last = math.max(last, (struct.unpack('>I8', old, 18)))
        end
    end
    redis.call('ZREMRANGEBYRANK', KEYS[1], 0, count - 1)
    if kind ~= '' then
        last = math.min(last, tonumber(time[1]))
        local all = kind .. string.rep('\0', 16) .. struct.pack('>I8', last)
        redis.call('ZADD', KEYS[1], 'NX', whole(number), all)
        redis.call('PUBLISH', ARGV[4], 'r' .. all)
        number = number + 1
    end
end
local batch = tonumber(ARGV[7])
local counts = tonumber(ARGV[2])
local is_full = function() return redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[6]) end
local oldest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if oldest[2] and tonumber(oldest[2]) < now - counts then
    local aged = redis.call('ZCOUNT', KEYS[1], '-inf', whole(now - counts))
    if tonumber(oldest[2]) < now - counts * 17 / 16 or (aged >= batch and is_full()) then
        drop(math.min(aged, batch), ARGV[9])
    end
end
local outcome = 1
if is_full() then
    if ARGV[8] == '' then
        return 0
    end
    drop(batch, ARGV[8])
    outcome = 2
end
redis.call('ZADD', KEYS[1], 'NX', whole(number), ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('PUBLISH', ARGV[4], ARGV[5])
return outcome
"
);
