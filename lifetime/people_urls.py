"""Routes about people; `lifetime.urls` includes them at the root."""

from django.urls import path

from lifetime.views import people

app_name = "lifetime"

urlpatterns = [
    path("", people.home, name="home"),
    path("login/", people.log_in, name="login"),
    path("logout/", people.log_out, name="logout"),
    path("settings/", people.settings, name="settings"),
    path("settings/theme/", people.set_theme, name="set-theme"),
    path("settings/password/", people.change_password, name="change-password"),
]
