"""The certificate of the public port.

Invariant: what is said about it comes from `lifecycle/tls.py`, the one judge of certificates.
"""

from appliance.base.errors import ApplianceError
from appliance.lifecycle.doctor.facts import CertificateFacts, Subject
from appliance.lifecycle.doctor.gathering.probing import in_thread
from appliance.lifecycle.doctor.gathering.scene import ROOT_ONLY, Scene
from appliance.lifecycle.tls import inspect_tls


async def gather_certificate(scene: Scene) -> CertificateFacts | None:
    """The certificate with everything that is wrong with it."""
    try:
        report = await in_thread(lambda: inspect_tls(scene.settings, scene.clock))
    except PermissionError:
        scene.blind(Subject.CERTIFICATE, "the certificate", ROOT_ONLY)
        return None
    except ApplianceError as error:
        if isinstance(error.__cause__, PermissionError):
            scene.blind(Subject.CERTIFICATE, "the certificate", ROOT_ONLY)
            return None
        return CertificateFacts(report=None, error=error.message, hint=error.hint)
    return CertificateFacts(report=report)
