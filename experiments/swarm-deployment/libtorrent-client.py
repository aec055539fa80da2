"""A libtorrent client: libtorrent-client.py TORRENT FOLDER seed|get SETTINGS_JSON plain|super.

Prints `ready` when its session runs. `get` adds the torrent when a line comes on standard input, and prints
`done` when all pieces are there and checked.
"""
import json
import sys

import libtorrent as lt

torrent, folder, role, settings, kind = sys.argv[1:6]
fixed = {
    'listen_interfaces': '0.0.0.0:6881',
    'enable_dht': False,
    'enable_lsd': False,
    'enable_upnp': False,
    'enable_natpmp': False,
    'enable_outgoing_utp': False,
    'enable_incoming_utp': False,
    'alert_mask': lt.alert.category_t.status_notification | lt.alert.category_t.error_notification,
}
session = lt.session({**fixed, **json.loads(settings)})
params = lt.add_torrent_params()
params.ti = lt.torrent_info(torrent)
params.save_path = folder
if role == 'seed':
    params.flags |= lt.torrent_flags.seed_mode
    if kind == 'super':
        params.flags |= lt.torrent_flags.super_seeding
print('ready', flush=True)
if role == 'get':
    sys.stdin.readline()
handle = session.add_torrent(params)
told = role == 'seed'
while True:
    session.wait_for_alert(1000)
    for alert in session.pop_alerts():
        finished = isinstance(alert, (lt.torrent_finished_alert, lt.torrent_checked_alert))
        if finished and not told and handle.status().is_seeding:
            told = True
            handle.flush_cache()
            print('done', flush=True)
