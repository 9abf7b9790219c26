"""How the console finds the person of a session."""

from django.contrib.auth.backends import ModelBackend

from lifetime.models import User


class Backend(ModelBackend):
    """Django's, but it fetches the role along: every page asks what the person may do."""

    def get_user(self, user_id: int) -> User | None:
        user = User.objects.select_related("role").filter(pk=user_id).first()
        return user if user and self.user_can_authenticate(user) else None
