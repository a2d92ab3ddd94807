"""The certificate of the public port.

Invariant: what is said about it comes from `lifecycle/tls.py`, the one judge of certificates. It is
imported late, because a doctor must not need a cryptography library to look at everything else.
"""

from appliance.base.errors import ApplianceError
from appliance.lifecycle.doctor.facts import CertificateFacts, Subject
from appliance.lifecycle.doctor.gathering.probing import in_thread
from appliance.lifecycle.doctor.gathering.scene import ROOT_ONLY, Scene


async def gather_certificate(scene: Scene) -> CertificateFacts | None:
    """The certificate with everything that is wrong with it."""
    try:
        return await in_thread(lambda: _inspect(scene))
    except PermissionError:
        scene.blind(Subject.CERTIFICATE, "the certificate", ROOT_ONLY)
        return None
    except ApplianceError as error:
        if isinstance(error.__cause__, PermissionError):
            scene.blind(Subject.CERTIFICATE, "the certificate", ROOT_ONLY)
            return None
        return CertificateFacts(found=True, error=error.message, hint=error.hint)


def _inspect(scene: Scene) -> CertificateFacts:
    if not scene.has_certificate():
        return CertificateFacts(found=False)
    from appliance.lifecycle.tls import inspect_tls  # noqa: PLC0415 see above

    report = inspect_tls(scene.settings, scene.clock)
    if report is None:
        return CertificateFacts(found=False)
    return CertificateFacts(
        found=True,
        expires_at=report.expires_at,
        days_left=report.days_left,
        self_signed=report.self_signed,
        issuer=report.issuer,
        names=report.names,
        problems=report.problems,
    )
