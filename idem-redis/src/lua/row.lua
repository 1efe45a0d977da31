-- A row is one string, of which this is the head. The owner, the handler, the key and the record follow.
local HEAD = 53

local function owner_of(row)
    return string.sub(row, HEAD + 1, HEAD + tonumber(string.sub(row, 34, 37), 16))
end

local function is_live(row)
    return string.sub(row, 17, 17) == 'l'
end

local function without_record(row)
    local owner = tonumber(string.sub(row, 34, 37), 16)
    local handler = tonumber(string.sub(row, 38, 45), 16)
    local key = tonumber(string.sub(row, 46, 53), 16)
    return string.sub(row, 1, HEAD + owner + handler + key)
end
