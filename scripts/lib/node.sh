# shellcheck shell=bash
# Checks Node and installs the packages of npm. Needs messages.sh and packages.sh.

LEAST_NODE=20.19.0

# Ends the script if Node is missing or too old.
require_node() {
  local found
  command -v node >/dev/null || die "Node.js is not installed. $(how_to_get_node)"
  found=$(node -p process.versions.node)
  [ "$(printf '%s\n' "$LEAST_NODE" "$found" | sort -V | head -n 1)" = "$LEAST_NODE" ] \
    || die "Node.js is $found and must be $LEAST_NODE or newer. $(how_to_get_node)"
  command -v npm >/dev/null || die "npm is not installed; it usually comes with Node.js. $(how_to_get_node)"
}

how_to_get_node() {
  echo "Get the long-term version from https://nodejs.org/en/download; under sudo keep it on the path: sudo env \"PATH=\$PATH\" $0"
}

# Runs `npm ci` in the current folder if package-lock.json or Node's ABI has changed since the last time.
install_node_modules() {
  fetch_node_modules || return 1
  if [ -n "$NODE_MODULES_VERSION" ]; then compile_node_modules || return 1; fi
}

# The same in two steps. The packages can be used after the first one, except those with native code: the second compiles them,
# and is needed if the first has set NODE_MODULES_VERSION.
NODE_MODULES_STAMP=node_modules/.installed-from
NODE_MODULES_VERSION=
fetch_node_modules() {
  local now
  now="$(sha256sum < package-lock.json | cut -d' ' -f1) $(node -p 'process.versions.modules + process.platform + process.arch')"
  if [ -f "$NODE_MODULES_STAMP" ] && [ "$(cat "$NODE_MODULES_STAMP")" = "$now" ]; then return 0; fi
  # better-sqlite3 is compiled if no prebuilt one is available.
  provide_packages make:build-essential g++:build-essential python3:python3 || note "without make, g++ and python3 only prebuilt packages can be installed"
  note "npm ci"
  export_node_headers
  npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2 || return 1
  NODE_MODULES_VERSION=$now
}
compile_node_modules() {
  npm rebuild --loglevel=error >&2 || return 1
  echo "$NODE_MODULES_VERSION" > "$NODE_MODULES_STAMP"
}

# Tells node-gyp where Node's headers are, so that it does not download them; Node's own archives contain them.
export_node_headers() {
  local prefix
  if [ "$(npm config get nodedir 2>/dev/null)" != undefined ]; then return 0; fi
  prefix=$(node -p 'require("node:path").dirname(require("node:path").dirname(require("node:fs").realpathSync(process.execPath)))')
  if [ -f "$prefix/include/node/node.h" ]; then export npm_config_nodedir=$prefix; fi
}
