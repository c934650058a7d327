"""Test vectors for a phone, and the judgement of the report that an app writes after running them.

`parity/device.json` holds texts with their token ids and the checkpoint's own answers. An app runs them with the
shipped artifact and writes a device report; `kogata check --device-report` judges it by the limits in device.json.
"""
