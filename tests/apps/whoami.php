<?php
// The app of docs/apps/php.md.
$identity = [];
foreach ($_SERVER as $name => $value) {
    if (preg_match('/^(REMOTE_USER|AUTH_USER|PHP_AUTH_USER|HTTP_(X_USER|REMOTE_USER|X_REMOTE_USER|X_FORWARDED_(USER|EMAIL)|X_AUTH_REQUEST|X_WEBAUTH))/', $name)) {
        $identity[$name] = $value;
    }
}
header('Content-Type: application/json');
echo json_encode(['user' => $_SERVER['HTTP_X_USER'] ?? '', 'identity' => (object) $identity]);
