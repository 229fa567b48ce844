-- How does HAProxy ask grantgate? The action `grantgate` asks the door in txn.grantgate_door and writes the answer into txn.grantgate_*.
--
-- With HAProxy's own HTTP client, over TCP, whose connections it keeps. (With `dst = "unix@..."` in the call below it asks on a Unix
-- socket: Debian's 2.6.12 keeps those too, other builds were seen to connect anew for each check.)

local address = "http://" .. os.getenv("GRANTGATE_DOOR")

-- Milliseconds. HAProxy before 2.9 asks four times before it gives up, so a client waits four times as long.
local TIMEOUT = 250

-- What the door gets of the client's headers, and nothing else: credentials, its trace, the two of a preflight, those that name another
-- method.
-- Every line of each: which of two credentials is meant is not for a proxy to say.
local PASSED = {
  "authorization", "x-authorization", "x-request-id", "traceparent", "tracestate", "origin", "access-control-request-method",
  "x-http-method-override", "x-http-method", "x-method-override",
  -- For routes that take the token from a cookie:
  -- "cookie",
  -- For clients that must see their own write: "at this revision or later, or not at all". It needs doors.atLeast: true as well.
  -- Whoever sends a revision that is not reached makes that check wait for the database, so it is not passed on unless you say so.
  -- "x-authz-at-least",
}

-- Target of the door with parameters, from the bytes that the client sent, and only by a strict class of characters. No match is
-- empty, and no target is a refusal, never "any": that is `*`, and stands here for the areas where one question is asked for all.
local function target_of(uri)
  if uri:find("^/fleet/") or uri:find("^/estate/") then return "*" end
  local device, after = uri:match("^/api/devices/([A-Za-z0-9_:-]+)(.?)")
  if device and (after == "" or after == "/" or after == "?") then return device end
  return ""
end

local function first(values)
  return values and values[0] or ""
end

core.register_action("grantgate", { "http-req" }, function(txn)
  local uri = txn.sf:pathq()
  local headers = {
    ["host"] = { "grantgate" },
    ["x-original-method"] = { txn.sf:method() },
    ["x-original-uri"] = { uri },
    ["x-authz-target"] = { target_of(uri) },
  }
  local sent = txn.http:req_get_headers()
  for _, name in ipairs(PASSED) do
    if sent[name] then
      headers[name] = {}
      for i = 0, #sent[name] do headers[name][i + 1] = sent[name][i] end
    end
  end
  local answer = core.httpclient():get({ url = address .. txn:get_var("txn.grantgate_door"), headers = headers, timeout = TIMEOUT })
  if not answer then return end
  if answer.status == 200 then
    txn:set_var("txn.grantgate_user", first(answer.headers["x-auth-user"]))
    txn:set_var("txn.grantgate_tenant", first(answer.headers["x-auth-tenant"]))
    txn:set_var("txn.grantgate_customer", first(answer.headers["x-auth-customer"]))
    txn:set_var("txn.grantgate_decision", first(answer.headers["x-authz-decision-id"]))
    txn:set_var("txn.grantgate_status", "200")
  elseif answer.status == 401 then
    txn:set_var("txn.grantgate_challenge", first(answer.headers["www-authenticate"]))
    txn:set_var("txn.grantgate_status", "401")
  elseif answer.status == 403 then
    txn:set_var("txn.grantgate_status", "403")
  end
end, 0)
