"""Lock devices, and keep the codes that unlock them.

A device has one code, kept as the store's secret ``bypass code of <serial number>`` before Apple is asked for
the first lock. Every later lock uses the same one until it is forgotten: so whichever of two answers was
lost, the code that is kept unlocks the device.

Source: Apple, device assignment, "Activation lock devices"; Apple, "Creating and using bypass codes".
"""

from __future__ import annotations

from pyade.apple import calls
from pyade.apple.http.calls import SendCall
from pyade.apple.responses import ActivationLockAnswer
from pyade.core.kinds import checks_kinds
from pyade.core.secret import Secret
from pyade.crypto.bypass_code import RAW_BYTES, BypassCode
from pyade.flow import Flow, RandomBytes, ask
from pyade.storage.protocol import Store
from pyade.sync.damage import belonging_to
from pyade.sync.leases import worker_name
from pyade.sync.steps import in_store


@checks_kinds
def bypass_code_name(serial_number: str) -> str:
    """Return the name of the secret under which the code of a device is kept."""
    return f"bypass code of {serial_number}"


@checks_kinds
def bypass_code(store: Store, serial_number: str) -> BypassCode | None:
    """Return the code that unlocks a device; None if this store never asked to lock it.

    That there is a code does not prove that the device is locked.

    Args:
        store: Where ``DeviceActions.lock`` kept it.
        serial_number: Apple's serial number.

    Raises:
        BypassCodeError: What is kept is no code: somebody else wrote it.
        StoreError: The store failed, or cannot decrypt it.
    """
    text = store.secret(bypass_code_name(serial_number))
    return None if text is None else BypassCode.parse(text)


@checks_kinds
def forget_bypass_code(store: Store, serial_number: str) -> None:
    """Remove the code of a device that is unlocked, so that the next lock makes a new one.

    A code that somebody was told is no secret any more. Never forget the code of a locked device: nothing
    else of ours unlocks it.
    """
    store.save_secret(bypass_code_name(serial_number), None)


def lock_flow(token_name: str, serial_number: str, lost_message: str | None) -> Flow[ActivationLockAnswer]:
    """Keep a code, a new one if there is none yet, then ask Apple for the lock."""
    new_code = BypassCode((yield from ask(RandomBytes(RAW_BYTES))))
    owner = yield from worker_name()
    code = yield from in_store(lambda store: _kept(store, token_name, serial_number, new_code, owner))
    call = calls.activation_lock(serial_number, code.escrow_key, lost_message)
    return (yield from ask(SendCall(call)))


def _kept(store: Store, token_name: str, serial_number: str, new_code: BypassCode, owner: str) -> BypassCode:
    with belonging_to(token_name):
        code = bypass_code(store, serial_number)
    if code is not None:
        return code
    # Two workers that lock one device must not overwrite each other's code.
    lease = store.acquire_lease(token_name, owner)
    try:
        code = bypass_code(store, serial_number)
        if code is None:
            code = new_code
            store.save_secret(bypass_code_name(serial_number), Secret(code.text))
    finally:
        store.release_lease(lease)
    return code
