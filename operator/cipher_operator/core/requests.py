"""Requests by annotation, and `spec.adoptFrom`: any new value acts once, and is copied to `status.handledRequests`."""

from collections.abc import Mapping
from dataclasses import dataclass

from cipher_operator.api.names import ADOPT_REQUEST, REQUEST_ANNOTATIONS
from cipher_operator.api.spec import Resource, User, UserMode

MAX_VALUE = 256


@dataclass(frozen=True, slots=True)
class Requests:
    """The requests that are new, by name."""

    new: Mapping[str, str]

    @classmethod
    def of(cls, resource: Resource) -> "Requests":
        """Return the requests on a resource whose value is not the handled one."""
        handled = resource.status.get("handledRequests")
        done = handled if isinstance(handled, Mapping) else {}
        asked = {
            name: resource.annotations[annotation][:MAX_VALUE]
            for name, annotation in REQUEST_ANNOTATIONS.items()
            if resource.annotations.get(annotation)
        }
        source = resource.raw_spec.get(ADOPT_REQUEST)
        if isinstance(source, Mapping):
            asked[ADOPT_REQUEST] = "/".join(str(source.get(part)) for part in ("instance", "namespace", "name"))
        elif ADOPT_REQUEST in done:
            # Asked for again, the same value acts again.
            asked[ADOPT_REQUEST] = ""
        return cls({name: value for name, value in asked.items() if done.get(name) != value})

    @property
    def adopt(self) -> bool:
        """Return whether another storage's objects are still to be taken over."""
        return bool(self.new.get(ADOPT_REQUEST))

    @property
    def rotate(self) -> bool:
        """Return whether a new password is asked for."""
        return "rotate" in self.new

    @property
    def revoke_previous(self) -> bool:
        """Return whether the login that is not published shall end."""
        return "revokePrevious" in self.new

    @property
    def recreate(self) -> bool:
        """Return whether a lost storage may begin again empty."""
        return "recreate" in self.new

    def impossible(self, user: User) -> dict[str, str]:
        """Return those of them that this login can never answer, each with a sentence that says why."""
        if user.mode is UserMode.SHARED:
            why = "in mode Shared it is the administrator's own; change it on the server and in the connection Secret"
            never: tuple[str, ...] = ("rotate", "revokePrevious")
        elif user.password_ref is not None:
            why = "it is the one in `spec.user.passwordSecretRef`; change it there"
            never = ("rotate",)
        else:
            return {}
        return {
            name: f"`{REQUEST_ANNOTATIONS[name]}` changes nothing: this login's password is not the operator's, {why}"
            for name in never
            if name in self.new
        }
